-- Widths of table columns, for writers that set type on pages. Shared by the filters beside this file.

local M = {}

local SEP = 2 -- characters that a gap between two columns takes
local LONGEST_WORD = 24 -- a longer word is broken
local WORTH = 3 -- characters that an interval below its estimate must save
local COMFORTABLE = 20 -- a column of words is not made narrower than this while another size of type is left

local function plain(blocks, stretch)
  -- Formulas count as what is seen of them, not as what is typed; they are not broken.
  local shown = pandoc.Blocks(blocks):walk({
    Math = function(el)
      local text = el.text:gsub("\\mathrm", ""):gsub("\\%a+", "x"):gsub("[{}\\]", "")
      if stretch > 1 then
        text = text:gsub("%s+", "\u{a0}")
        text = text .. string.rep("x", math.ceil((stretch - 1) * (utf8.len(text) or #text)))
      end
      return pandoc.Str(text)
    end,
    RawInline = function(el)
      local text = el.text:gsub("\\mathrm", ""):gsub("\\allowbreak", ""):gsub("\\hspace{.-}", ""):gsub("\\%a+", "x"):gsub("[${}\\,]", "")
      return pandoc.Str(text)
    end,
  })
  return pandoc.utils.stringify(shown)
end

local function length(text)
  return utf8.len(text) or #text
end

local function longest_word(text, stretch)
  local longest = 0
  for word in text:gmatch("%S+") do
    longest = math.max(longest, length(word))
  end
  return math.min(longest, math.ceil(stretch * LONGEST_WORD))
end

local BOLD = 1.06 -- bold letters are wider by so much

-- Heads are bold, and capitals are wider than what is counted as one character.
local function heavy(text)
  local longest = 0
  for word in text:gmatch("%S+") do
    local _, capitals = word:gsub("%u", "")
    longest = math.max(longest, BOLD * length(word) + capitals / 3)
  end
  return math.min(longest, LONGEST_WORD)
end

--- All rows of the body of a table.
function M.rows(tbl)
  local rows = pandoc.List({})
  for _, body in ipairs(tbl.bodies) do
    rows:extend(body.body)
  end
  return rows
end

-- Numbers and words are counted as letters; where most are capitals, they are as wide as that many more.
local function wide(text)
  local _, capitals = text:gsub("%u", "")
  local long = length(text)
  return capitals > long / 2 and long + math.ceil(capitals / 3) or long
end

-- The longer part of "estimate [interval]" set in two lines; nil of other text.
local function halves(text)
  local estimate, rest = text:match("^(%S+) ([%[(].*)$")
  return estimate and math.max(length(estimate), length(rest))
end

--- What every column asks for: `natural`, all in one line; `need`, the least that can be read; `split`, what is
-- enough with every interval below its estimate, nil if there is none; `words`, whether it wraps.
-- `stretch`: how much wider than words of as many letters formulas are, where they are set in a size of their own.
function M.measure(tbl, stretch)
  stretch = stretch or 1
  local columns = {}
  for place, spec in ipairs(tbl.colspecs) do
    local head, body, word, half = 0, 0, 0, 0
    for _, row in ipairs(tbl.head.rows) do
      head = math.max(head, heavy(plain(row.cells[place].contents, stretch)))
    end
    for _, row in ipairs(M.rows(tbl)) do
      local text = plain(row.cells[place].contents, stretch)
      body = math.max(body, wide(text))
      word = math.max(word, longest_word(text, stretch))
      half = math.max(half, halves(text) or length(text))
    end
    local words = spec[1] ~= pandoc.AlignRight and body > 16
    local need = words and math.max(head, word, math.min(body, COMFORTABLE)) or math.max(head, body)
    local split = math.max(head, half)
    if spec[1] ~= pandoc.AlignRight or need - split < WORTH then
      split = nil
    end
    columns[place] = { natural = math.max(head, body), need = need, split = split, words = words }
  end
  return columns
end

--- Share `budget` characters among columns. Returns the widths, whether all fit, and whether none has to wrap.
function M.allot(columns, budget)
  local want, need = 0, 0
  for _, column in ipairs(columns) do
    want = want + column.natural + SEP
    need = need + column.need + SEP
  end
  local widths = {}
  local spare, lack = math.max(budget - need, 0), want - need
  for place, column in ipairs(columns) do
    local more = lack > 0 and math.min(spare / lack, 1) * (column.natural - column.need) or 0
    widths[place] = column.need + more + SEP
  end
  return widths, need <= budget, want <= budget
end

--- How many lines these rows take in columns of these widths.
function M.lines(rows, widths)
  local lines = 0
  for _, row in ipairs(rows) do
    local most = 1
    for place, cell in ipairs(row.cells) do
      most = math.max(most, math.ceil(length(plain(cell.contents, 1)) / math.max(widths[place] - SEP, 1)))
    end
    lines = lines + most
  end
  return lines
end

--- How many lines of `budget` characters the caption of a table takes.
function M.caption_lines(tbl, budget)
  return math.ceil(length(plain(tbl.caption.long, 1)) / budget)
end

--- The first of the settings {budget = ..., split = ...} in which a table fits, else the last; with the widths in it.
function M.choose(columns, settings)
  local narrow = {}
  for place, column in ipairs(columns) do
    narrow[place] = column.split and { natural = column.split, need = column.split } or column
  end
  for place, setting in ipairs(settings) do
    local widths, fits, loose = M.allot(setting.split and narrow or columns, setting.budget)
    if fits or place == #settings then
      return setting, widths, fits, loose
    end
  end
end

--- Set the widths of a table as shares of `budget`; more than the whole is shrunk to it.
function M.set_widths(tbl, widths, budget)
  local total = 0
  for _, width in ipairs(widths) do
    total = total + width
  end
  local whole = math.max(total, budget)
  local specs = {}
  for place, spec in ipairs(tbl.colspecs) do
    specs[place] = { spec[1], widths[place] / whole }
  end
  tbl.colspecs = specs
end

--- Whether a cell has a word that is longer than any that is one.
function M.unwieldy(cell)
  for word in plain(cell.contents, 1):gmatch("%S+") do
    if length(word) > LONGEST_WORD then
      return true
    end
  end
  return false
end

--- Set every interval below its estimate, in the columns that can be split.
function M.split_intervals(tbl, columns)
  for _, row in ipairs(M.rows(tbl)) do
    for place, cell in ipairs(row.cells) do
      if columns[place].split and halves(plain(cell.contents, 1)) then
        local first = true
        cell.contents = cell.contents:walk({
          Space = function()
            local made = first and pandoc.LineBreak() or nil
            first = false
            return made
          end,
        })
      end
    end
  end
end

--- A filter that keeps a number and its per cent sign on one line.
M.per_cent = {
  Inlines = function(inlines)
    for place = 2, #inlines - 1 do
      local before, after = inlines[place - 1], inlines[place + 1]
      local bound = before.t == "Str" and before.text:find("%d$") and after.t == "Str" and after.text:find("^%%")
      if bound and inlines[place].t == "Space" then
        inlines[place] = pandoc.Str("\u{a0}")
      end
    end
    return inlines
  end,
}

--- A filter that gives every word that is too long places to break at, made by `maker`.
function M.breakable(maker)
  return function(el)
    if length(el.text) <= LONGEST_WORD then
      return nil
    end
    local parts, run, count = pandoc.List({}), "", 0
    local function flush()
      if run ~= "" then
        parts:insert(el.t == "Code" and pandoc.Code(run) or pandoc.Str(run))
        run, count = "", 0
      end
    end
    for _, code in utf8.codes(el.text) do
      local ch = utf8.char(code)
      run, count = run .. ch, count + 1
      if count >= 12 or (count >= 4 and ch:find("^[/_%-.,:;|=]$")) then
        flush()
        parts:insert(maker())
      end
    end
    flush()
    return parts
  end
end

return M
