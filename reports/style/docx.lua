-- For Word: figures as PNG, columns in proportion to what they hold, tables that are too wide on turned pages.

local here = pandoc.path.directory(PANDOC_SCRIPT_FILE)
local columns = dofile(pandoc.path.join({ here, "columns.lua" }))

local SETTINGS = { { budget = 122 }, { budget = 184, turned = true } }
local STRETCH = 1.6 -- formulas do not take the size of type of a table in every word processor
local PORTRAIT = '<w:pgSz w:w="11906" w:h="16838"/>'
local TURNED = '<w:pgSz w:w="16838" w:h="11906" w:orient="landscape"/>'
local MARGINS = '<w:pgMar w:top="1134" w:right="1021" w:bottom="1134" w:left="1021" w:header="567" w:footer="567" '
  .. 'w:gutter="0"/>'

local function section(size)
  return pandoc.RawBlock("openxml", "<w:p><w:pPr><w:sectPr>" .. size .. MARGINS .. "</w:sectPr></w:pPr></w:p>")
end

local function image(el)
  el.src = el.src:gsub("%.svg$", ".png")
  return el
end

local function pages(blocks)
  local out, open = pandoc.Blocks({}), false
  for _, block in ipairs(blocks) do
    local turned = false
    if block.t == "Table" then
      local setting, widths = columns.choose(columns.measure(block, STRETCH), SETTINGS)
      columns.set_widths(block, widths, setting.budget)
      turned = setting.turned or false
    end
    -- The section of a Word document is described where it ends.
    if turned and not open then
      out:insert(section(PORTRAIT))
    elseif open and not turned then
      out:insert(section(TURNED))
    end
    open = turned
    out:insert(block)
  end
  if open then
    out:insert(section(TURNED))
  end
  return out
end

return {
  columns.per_cent,
  { Image = image },
  { Pandoc = function(doc) return pandoc.Pandoc(pages(doc.blocks), doc.meta) end },
}
