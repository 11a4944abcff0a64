-- For typst: tables in a size of type, or on a turned page, in which they fit; text that stands for figures and formulas.

local here = pandoc.path.directory(PANDOC_SCRIPT_FILE)
local columns = dofile(pandoc.path.join({ here, "columns.lua" }))

-- Characters that a line holds, by size of type (Libertinus Serif, A4 with the margins of report.typ).
local SETTINGS = {
  { budget = 128, size = 8 },
  { budget = 146, size = 7 },
  { budget = 190, size = 8, turned = true },
  { budget = 216, size = 7, turned = true },
}

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
  return (pandoc.write(pandoc.Pandoc({ pandoc.Plain(inlines) }), "typst"):gsub("%s+$", ""))
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

local function table_of(el)
  local measured = columns.measure(el)
  local setting, widths, _, loose = columns.choose(measured, SETTINGS)
  el = el:walk({ Code = breakable })
  if not loose then
    columns.set_widths(el, widths, setting.budget)
  end
  return el, setting
end

local function sized(el, setting)
  return pandoc.Blocks({
    pandoc.RawBlock("typst", "#[#set text(size: " .. setting.size .. "pt)"), el, pandoc.RawBlock("typst", "]"),
  })
end

-- Turned tables that follow each other share a page.
local function pages(blocks)
  local out, open = pandoc.Blocks({}), false
  for _, block in ipairs(blocks) do
    local setting
    if block.t == "Table" then
      block, setting = table_of(block)
    end
    local turned = setting ~= nil and setting.turned or false
    if open and not turned then
      out:insert(pandoc.RawBlock("typst", "]"))
    elseif turned and not open then
      local heads = pandoc.Blocks({}) -- a heading goes with its table
      while #out > 0 and out[#out].t == "Header" do
        heads:insert(1, out:remove())
      end
      out:insert(pandoc.RawBlock("typst", "#page(flipped: true)["))
      out:extend(heads)
    end
    open = turned
    if setting then
      out:extend(sized(block, setting))
    else
      out:insert(block)
    end
  end
  if open then
    out:insert(pandoc.RawBlock("typst", "]"))
  end
  return out
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
  { Str = breakable },
  { Pandoc = function(doc) return pandoc.Pandoc(pages(doc.blocks), doc.meta) end },
  { Math = formula },
  { Figure = picture },
}
