-- For HTML: columns of words keep room, however long the other columns are.

local here = pandoc.path.directory(PANDOC_SCRIPT_FILE)
local columns = dofile(pandoc.path.join({ here, "columns.lua" }))

local NAME = 14 -- characters from which the first column is one of names
local WORDS = 60 -- characters from which a column is one of sentences
local PHRASE = 24 -- characters from which another column is one of phrases

return {
  columns.per_cent,
  {
    Table = function(el)
      local measured = columns.measure(el)
      for _, row in ipairs(el.head.rows) do
        for place, cell in ipairs(row.cells) do
          if measured[place] and measured[place].natural > WORDS then
            cell.attr.classes:insert("words")
          elseif place == 1 and measured[place].natural > NAME then
            cell.attr.classes:insert("name")
          elseif measured[place] and measured[place].words and measured[place].natural > PHRASE then
            cell.attr.classes:insert("phrase")
          end
        end
      end
      for _, row in ipairs(columns.rows(el)) do
        for _, cell in ipairs(row.cells) do
          if columns.unwieldy(cell) then
            cell.attr.classes:insert("long")
          end
        end
      end
      return el
    end,
  },
}
