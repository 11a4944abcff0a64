-- For LaTeX that is pasted into a paper: floats instead of longtable, labels, no package beyond those that latex.tex names.

local here = pandoc.path.directory(PANDOC_SCRIPT_FILE)
local columns = dofile(pandoc.path.join({ here, "columns.lua" }))

local NARROW = { budget = 58, float = "table", size = "\\footnotesize" }
local WIDE = { budget = 126, float = "table*", size = "\\scriptsize" }
local LINES = 46 -- lines of a table that fit a page beside its caption

-- Characters that pdfLaTeX does not know as they stand.
local KNOWN = {
  ["−"] = "$-$", ["\u{A0}"] = "~", ["\u{202F}"] = "\\,", ["\u{2009}"] = "\\,", ["†"] = "\\textdagger{}",
  ["→"] = "$\\rightarrow$", ["≤"] = "$\\leq$", ["≥"] = "$\\geq$", ["×"] = "$\\times$", ["±"] = "$\\pm$",
  ["∞"] = "$\\infty$", ["≈"] = "$\\approx$", ["²"] = "\\textsuperscript{2}", ["·"] = "\\textperiodcentered{}",
  ["\u{200B}"] = "\\hspace{0pt plus 1em}", ["Σ"] = "$\\Sigma$", ["Δ"] = "$\\Delta$",
}
local GREEK = {
  ["α"] = "alpha", ["β"] = "beta", ["γ"] = "gamma", ["δ"] = "delta", ["ε"] = "varepsilon", ["η"] = "eta", ["θ"] = "theta", ["κ"] = "kappa",
  ["λ"] = "lambda", ["μ"] = "mu", ["ρ"] = "rho", ["σ"] = "sigma", ["τ"] = "tau", ["φ"] = "varphi", ["χ"] = "chi", ["ψ"] = "psi", ["ω"] = "omega",
}
for ch, name in pairs(GREEK) do
  KNOWN[ch] = "$\\" .. name .. "$"
end

local function raw(text)
  return pandoc.RawInline("latex", text)
end

-- Typeset by engines that know Unicode; named by its number elsewhere.
local function foreign(ch, code)
  return raw(string.format("\\safetystatschar{%s}{%04X}", ch, code))
end

local function string_of(el)
  local out, run = pandoc.List({}), ""
  local function flush()
    if run ~= "" then
      out:insert(el.t == "Code" and pandoc.Code(run) or pandoc.Str(run))
      run = ""
    end
  end
  for _, code in utf8.codes(el.text) do
    local ch = utf8.char(code)
    if KNOWN[ch] then
      flush()
      out:insert(raw(KNOWN[ch]))
    elseif code > 0x17F and not (code >= 0x2010 and code <= 0x2026) then
      flush()
      out:insert(foreign(ch, code))
    else
      run = run .. ch
      if el.t == "Code" and ch:find("[/_]") then
        flush()
        out:insert(raw("\\allowbreak{}"))
      end
    end
  end
  flush()
  return out
end

local function formula(el)
  local text = el.text:gsub("−", "-"):gsub("\u{202F}", "\\,"):gsub("\u{A0}", "~"):gsub("%s+$", ""):gsub("^%s+", "")
  if el.mathtype == "InlineMath" then
    return raw("$" .. text .. "$")
  end
  local rows = text:gsub(",%s*\\qquad%s*", ", \\\\\n")
  if rows:find("\\\\\n", 1, true) then
    rows = "\\begin{gathered}\n" .. rows .. "\n\\end{gathered}"
  end
  return raw("\\[\n\\safetystatsfit{$\\displaystyle " .. rows .. "$}\n\\]")
end

local function latex(blocks)
  local text = pandoc.write(pandoc.Pandoc(blocks), "latex", { cite_method = PANDOC_WRITER_OPTIONS.cite_method })
  return (text:gsub("%s+$", ""))
end

local function label(kind, name)
  return "\\label{" .. kind .. ":" .. name:gsub("[^%w%-]", "-") .. "}"
end

local taken = {}
local function unique(name)
  taken[name] = (taken[name] or 0) + 1
  return taken[name] == 1 and name or name .. "-" .. taken[name]
end

local function cell(content)
  local text = latex(content):gsub("\n+", " ")
  return text
end

local function table_of(el)
  local measured = columns.measure(el)
  local rows = columns.rows(el)
  local setting, widths, _, loose = columns.choose(measured, { NARROW, WIDE })
  local spec, wraps = "", {}
  for place, column in ipairs(measured) do
    wraps[place] = column.words and not loose
    if wraps[place] then
      local share = 0.97 * widths[place] / setting.budget
      spec = spec .. string.format(">{\\raggedright\\arraybackslash}p{%.3f\\linewidth}", share)
    else
      spec = spec .. (el.colspecs[place][1] == pandoc.AlignRight and "r" or "l")
    end
  end
  local function head_cell(content, place)
    local text = cell(content)
    local shown = pandoc.utils.stringify(content)
    if wraps[place] or (utf8.len(shown) or #shown) <= measured[place].need then
      return text
    end
    -- A head longer than what stands below it is set in lines.
    local words, line, room = pandoc.List({}), 0, measured[place].need
    for _, inline in ipairs(pandoc.utils.blocks_to_inlines(content)) do
      if inline.t == "Space" then
        words:insert(raw(" "))
      else
        local size = utf8.len(pandoc.utils.stringify(inline)) or 1
        if line > 0 and line + 1 + size > room then
          words[#words] = raw("\\\\")
          line = 0
        end
        line = line + (line > 0 and 1 or 0) + size
        words:insert(inline)
      end
    end
    local side = el.colspecs[place][1] == pandoc.AlignRight and "r" or "l"
    return "\\begin{tabular}[b]{@{}" .. side .. "@{}}" .. cell({ pandoc.Plain(words) }) .. "\\end{tabular}"
  end
  local lines = { setting.size, "\\setlength{\\tabcolsep}{3pt}", "\\begin{tabular}{@{}" .. spec .. "@{}}", "\\toprule" }
  for _, row in ipairs(el.head.rows) do
    local cells = pandoc.List({})
    for place, each in ipairs(row.cells) do
      cells:insert(head_cell(each.contents, place))
    end
    lines[#lines + 1] = table.concat(cells, " & ") .. " \\\\"
  end
  lines[#lines + 1] = "\\midrule"
  local used, shown = 0, 0
  for _, row in ipairs(columns.rows(el)) do
    local height, cells = 1, pandoc.List({})
    for place, each in ipairs(row.cells) do
      local text = pandoc.utils.stringify(each.contents)
      if wraps[place] then
        height = math.max(height, math.ceil((utf8.len(text) or #text) / math.max(widths[place] - 3, 1)))
      end
      cells:insert(cell(each.contents))
    end
    if used + height > LINES and shown > 0 then
      break
    end
    used, shown = used + height, shown + 1
    lines[#lines + 1] = table.concat(cells, " & ") .. " \\\\"
  end
  lines[#lines + 1] = "\\bottomrule\n\\end{tabular}"
  local source = el.attributes.source or ""
  local caption = latex(el.caption.long):gsub("\n+", " ")
  if shown < #rows then
    local where = source ~= "" and latex({ pandoc.Plain({ pandoc.Code(source) }) }) or "the full report"
    caption = caption .. string.format(" The first %d of %d rows; all are in %s.", shown, #rows, where)
  end
  local stem = source:match("([^/]+)%.csv$")
  if not stem then
    stem = pandoc.utils.stringify(el.caption.long):lower():match("^%w+ ?%w* ?%w* ?%w*") or "table"
    stem = stem:gsub("%s+$", "")
  end
  local out = {
    "\\begin{" .. setting.float .. "}[tbp]", "\\centering", "\\setlength{\\belowcaptionskip}{6pt}", "\\caption{" .. caption .. "}",
    label("tab", unique(stem)), "\\safetystatsfit{" .. table.concat(lines, "\n") .. "}", "\\end{" .. setting.float .. "}",
  }
  return pandoc.RawBlock("latex", table.concat(out, "\n"))
end

local function figure_of(el)
  local image
  el:walk({ Image = function(found) image = found end })
  if not image then
    return nil
  end
  local caption = latex(el.caption.long):gsub("\n+", " ")
  local name = (el.identifier ~= "" and el.identifier or image.identifier):gsub("^fig%-", "")
  local out = {
    "\\begin{figure*}[tbp]", "\\centering",
    "\\includegraphics[width=\\linewidth,height=0.8\\textheight,keepaspectratio]{" .. image.src:gsub("%.svg$", "") .. "}",
    "\\caption{" .. caption .. "}", label("fig", unique(name)), "\\end{figure*}",
  }
  return pandoc.RawBlock("latex", table.concat(out, "\n"))
end

local headings = {}

local function header(el)
  local commands = { "section", "subsection", "subsubsection", "paragraph", "subparagraph" }
  local command = commands[math.min(el.level, #commands)]
  return pandoc.RawBlock(
    "latex", "\\" .. command .. "{" .. cell({ pandoc.Plain(el.content) }) .. "}" .. label("sec", el.identifier)
  )
end

-- A place in this file is referred to by its number; a place elsewhere by its words alone.
local function link(el)
  local target = el.target:match("^#(.+)$")
  if not target then
    return nil
  end
  local out = pandoc.List(el.content)
  if headings[target] then
    out:extend({ pandoc.Space(), raw("(Section~\\ref{sec:" .. target .. "})") })
  end
  return out
end

return {
  { Header = function(el) headings[el.identifier] = true end },
  { Link = link },
  { Str = columns.breakable(function() return pandoc.Str("\u{200B}") end) },
  { Math = formula, Str = string_of, Code = string_of },
  { Table = table_of, Figure = figure_of },
  { Header = header },
}
