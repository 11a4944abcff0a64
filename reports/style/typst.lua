-- For typst: tables in a size of type, or on a turned page, in which they fit; text that stands for figures and formulas.

local here = pandoc.path.directory(PANDOC_SCRIPT_FILE)
local columns = dofile(pandoc.path.join({ here, "columns.lua" }))

-- Characters that a line holds, by size of type (Libertinus Serif, A4 with the margins of report.typ).
local SETTINGS = {
  { budget = 128, size = 8 },
  { budget = 148, size = 7 },
  { budget = 128, size = 8, split = true },
  { budget = 148, size = 7, split = true },
  { budget = 190, size = 8, turned = true },
  { budget = 216, size = 7, turned = true },
}

local WRITER = "typst-citations" -- citations are resolved before
local WHOLE = 10 -- lines up to which a table is not broken
local TOGETHER = 3 -- rows of a longer table that stay together where it begins and where it ends
local CAPTION = 115 -- characters in a line of a caption
local LINE, GAP = 1.2, 0.7 -- heights in ems of a line, and of what is between rows, caption and head

local NAMES = {
  le = "at most", ge = "at least", sim = "is distributed as", sqrt = "root of", sum = "sum over", mid = "given",
  hat = "hat", qquad = ";", Bigl = "", Bigr = "", bigl = "", bigr = "", mathrm = "", arcsin = "arcsin",
}

local breakable = columns.breakable(function() return pandoc.Str("\u{200B}") end)

local function quoted(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("%s+", " ") .. '"'
end

local function in_words(tex)
  local text = tex:gsub("\\(%a+)", function(name)
    return " " .. (NAMES[name] or name) .. " "
  end)
  text = text:gsub("\\[,;!]", " "):gsub("_", " sub "):gsub("%^", " to the "):gsub("[{}]", " "):gsub("\\", "")
  return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

local function typst(inlines)
  return (pandoc.write(pandoc.Pandoc({ pandoc.Plain(inlines) }), WRITER):gsub("%s+$", ""))
end

-- PDF/UA asks for words beside every formula.
local function formula(el)
  local body = typst({ pandoc.Math("InlineMath", el.text) })
  if body:sub(1, 1) ~= "$" then
    return nil -- pandoc could not read it and writes it as text
  end
  body = body:gsub("\\|%s*([^|]-)%s*\\|", "lr(|%1|)") -- bars that belong together stand close
  if el.mathtype == "DisplayMath" then
    body = "$ " .. body:sub(2, -2) .. " $"
  end
  local block = el.mathtype == "DisplayMath" and "true" or "false"
  local call = "#math.equation(block: " .. block .. ", alt: " .. quoted(in_words(el.text)) .. ", " .. body .. ")"
  return pandoc.RawInline("typst", call)
end

local function picture(el)
  local image
  el:walk({ Image = function(found) image = found end })
  if not image then
    return nil
  end
  local caption = typst(pandoc.utils.blocks_to_inlines(el.caption.long))
  local alt = image.attributes.alt or pandoc.utils.stringify(image.caption)
  local name = el.identifier ~= "" and el.identifier or image.identifier
  local label = name ~= "" and " <" .. name .. ">" or ""
  return pandoc.RawBlock(
    "typst",
    "#figure(picture(" .. quoted(image.src) .. ", " .. quoted(alt) .. "), placement: auto, caption: [" .. caption .. "])"
      .. label
  )
end

-- Short tables stay whole. Of longer ones the last rows stay together, as a foot that is not repeated: no page has
-- the head of a table and one row. Returns the lines that must be left on the page where a longer one begins, for
-- caption, head and a few rows, else nil; typst gives the first rows no company by itself.
local function kept(el, widths)
  local rows = columns.rows(el)
  if columns.lines(rows, widths) <= WHOLE then
    return nil
  end
  local body = el.bodies[#el.bodies]
  for _ = 1, math.min(TOGETHER, #body.body - 1) do
    el.foot.rows:insert(1, body.body:remove())
  end
  local first = columns.lines({ table.unpack(rows, 1, TOGETHER) }, widths)
  return columns.caption_lines(el, CAPTION) + columns.lines(el.head.rows, widths) + first
end

local function table_of(el)
  local measured = columns.measure(el)
  local setting, widths, _, loose = columns.choose(measured, SETTINGS)
  el = el:walk({ Code = breakable })
  if setting.split then
    columns.split_intervals(el, measured)
  end
  local room = kept(el, widths)
  if not loose then
    columns.set_widths(el, widths, setting.budget)
  end
  return el, setting, room
end

local function sized(el, setting, room)
  local opening = "#[#set text(size: " .. setting.size .. "pt)"
  if room then
    local height = room * LINE + (TOGETHER + 2) * GAP
    opening = opening .. ("\n#block(breakable: false, spacing: 0pt, height: %.1fem)#v(-%.1fem)"):format(height, height)
  else
    opening = opening .. "\n#show figure: set block(breakable: false)"
  end
  return pandoc.Blocks({ pandoc.RawBlock("typst", opening), el, pandoc.RawBlock("typst", "]") })
end

local function pointer(tables)
  local named, last = {}, #tables
  for _, name in ipairs(tables) do
    table.insert(named, "#ref(<" .. name .. ">)")
  end
  local words = table.concat(named, ", ", 1, last - 1) .. (last > 1 and " and " or "") .. named[last]
  local place = last > 1 and " stand on turned pages, from " or " stands on a turned page: "
  return pandoc.RawBlock("typst", "#par[" .. words .. place .. "#ref(<" .. tables[1] .. ">, form: \"page\").]")
end

-- A turned page ends the page before it wherever that has come to. Turned tables therefore wait for the end of their
-- section, where they share pages, and a sentence says where they are.
local function pages(blocks)
  local out, waiting, pointed, count = pandoc.Blocks({}), pandoc.Blocks({}), {}, 0
  local function point()
    if #pointed > 0 then
      out:insert(pointer(pointed))
      pointed = {}
    end
  end
  local function flush()
    pointed = {} -- they follow at once
    if #waiting > 0 then
      out:insert(pandoc.RawBlock("typst", "#page(flipped: true)["))
      out:extend(waiting)
      out:insert(pandoc.RawBlock("typst", "]"))
      waiting = pandoc.Blocks({})
    end
  end
  for _, block in ipairs(blocks) do
    if block.t == "Header" and block.level == 1 then
      flush()
    end
    local setting, room
    if block.t == "Table" then
      block, setting, room = table_of(block)
    end
    if setting and setting.turned then
      count = count + 1
      block.identifier = "turned-" .. count
      table.insert(pointed, block.identifier)
      waiting:extend(sized(block, setting, room))
    else
      point()
      if setting then
        out:extend(sized(block, setting, room))
      else
        out:insert(block)
      end
    end
  end
  flush()
  return out
end

-- pandoc draws a line over a foot; this foot is rows like the others.
local function written(el)
  if #el.foot.rows == 0 then
    return nil
  end
  local text = pandoc.write(pandoc.Pandoc({ el }), WRITER, { wrap_text = "wrap-none" })
  return pandoc.RawBlock("typst", (text:gsub("table%.hline%(%),(%s*)table%.footer%(", "%1table.footer(repeat: false, ")))
end

-- typst refuses a link to a place that the document does not have: its words stay.
local function resolved(doc)
  local known = {}
  local function note(el)
    if el.identifier and el.identifier ~= "" then
      known["#" .. el.identifier] = true
    end
  end
  doc:walk({ Header = note, Div = note, Figure = note, Table = note, Span = note, Image = note })
  return doc:walk({
    Link = function(el)
      if el.target:sub(1, 1) == "#" and not known[el.target] then
        return el.content
      end
    end,
  })
end

return {
  { Pandoc = resolved },
  columns.per_cent,
  { Str = breakable },
  { Pandoc = function(doc) return pandoc.Pandoc(pages(doc.blocks), doc.meta) end },
  { Math = formula },
  { Figure = picture },
  { Table = written },
}
