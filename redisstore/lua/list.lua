-- KEYS  the rows of a subject, their extras, the index
-- ARGV  the id after which the page begins or '', limit, mode
-- The mode says whether this call can use the index:
--   'use'       yes: the caller has just completed the index
--   'check'     if the index has as many ids as there are rows
--   'complete'  no: the caller must complete the index first. Each first page has this mode. If
--               there are more than 20,000 rows, it means the same as 'check'
--
-- Returns a kind, a text, and a list of an id, a row and an extra or '' in turn:
--   0  the list has all rows of the subject in any order, or the rows of the last page
--   1  the list has the next rows, and more may follow after the id in text
--   2  the caller must complete the index first, from the cursor in text; the list is empty
requireMaster()
requireWritable(KEYS[1]) -- a caller that ends all sessions needs a complete list

-- append adds ids, their rows and their extras to list. An id without a row goes to gone. bytes is
-- the size of all rows in list.
local list, gone, bytes = {}, {}, 0
local function append(ids, rows)
  local extras = redis.call('EXISTS', KEYS[2]) == 1 and #ids > 0 and redis.call('HMGET', KEYS[2], unpack(ids)) or {}
  for i, id in ipairs(ids) do
    if rows[i] then
      local n = #list
      list[n + 1], list[n + 2], list[n + 3] = id, rows[i], extras[i] or ''
      bytes = bytes + #rows[i]
    else
      gone[#gone + 1] = id
    end
  end
end

local size = redis.call('HLEN', KEYS[1])
if size <= 1000 then
  local ids, rows = {}, {}
  for i, text in ipairs(redis.call('HGETALL', KEYS[1])) do
    if i % 2 == 1 then ids[#ids + 1] = text else rows[#rows + 1] = text end
  end
  append(ids, rows)
  return {0, '', list}
end

-- While an older version of this package uses the same rows, the index may have the right
-- size and the wrong ids. So it is completed for each first page, as long as that is cheap.
local isHuge = size > 20000
if ARGV[3] == 'complete' and not isHuge then return {2, 's0', {}} end
if ARGV[3] ~= 'use' and countIDs(KEYS[3]) ~= size then
  return {2, isHuge and storedCursor(KEYS[3]) or 's0', {}}
end

-- Large rows end the list early, since a script blocks the engine.
local place, left, isLast = ARGV[1], tonumber(ARGV[2]), false
while left > 0 and not isLast and bytes < 1000000 do
  local count = math.min(left, 100)
  local ids = idsAfter(KEYS[3], place, count)
  if #ids > 0 then append(ids, redis.call('HMGET', KEYS[1], unpack(ids))) end
  place, left, isLast = ids[#ids] or place, left - #ids, #ids < count
end
if #gone > 0 then redis.call('ZREM', KEYS[3], unpack(gone)) end
extendLikeRows(KEYS[3], KEYS[1])
return {isLast and 0 or 1, place, list}
