-- KEYS  the rows of a subject, their extras, the index
-- ARGV  id, first 32 bytes of the row, random id of this call, data, life in ms, extra or '', limit
-- Returns 1 if this call or an earlier attempt of it has added the row, 0 if another row has the
-- id, 2 if the subject has as many live sessions as limit, and 3 if the subject has too many
-- rows to count the live ones.
local id, limit = ARGV[1], tonumber(ARGV[7])
local existing = redis.call('HGET', KEYS[1], id)
if existing then
  -- The client repeats a call whose answer was lost.
  requireWritable(KEYS[1])
  return existing:sub(33, 40) == ARGV[3] and 1 or 0
end

-- A script blocks the engine. So countLive stops soon after it has looked at MAX_ROWS rows or
-- MAX_BYTES bytes.
local MAX_ROWS, MAX_BYTES = 5000, 4000000

-- removable has ids of rows that are garbage (rows.lua). They are removed after the new row was
-- written. An engine whose memory is full checks only the first write of a script, and allows a
-- removal. If the removal came first, the engine would then accept the new row.
local removable = {}
local at = now()

-- countLive counts the live rows, and stops at limit. It returns nil if it would have to look at
-- more rows or bytes than allowed.
local function countLive()
  local live, isCounted, began, cursor, rows, bytes = 0, {}, ARGV[2]:sub(17, 24), '0', 0, 0
  repeat
    local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 100)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      local other, row = page[2][i], page[2][i + 1]
      checkRow(row)
      rows, bytes = rows + 1, bytes + #row
      if generationOf(row) ~= ENDED and before(began, expiresOf(row)) then
        if not isCounted[other] then isCounted[other], live = true, live + 1 end
        if live == limit then return live end
      elseif isGarbage(row, at) then
        removable[#removable + 1] = other
      end
    end
    if (rows > MAX_ROWS or bytes > MAX_BYTES) and cursor ~= '0' then return nil end
  until cursor == '0'
  return live
end

if limit > 0 and redis.call('HLEN', KEYS[1]) >= limit then
  local live = countLive()
  if live ~= nil and live < limit then live = 0 end
  if live ~= 0 then
    requireWritable(KEYS[1])
    removeRows(KEYS[1], KEYS[2], KEYS[3], removable)
    return live and 2 or 3
  end
end

redis.call('HSET', KEYS[1], id, ARGV[2] .. ARGV[3] .. timeDigits(at + ARGV[5]) .. ARGV[4])
extendExpiry(KEYS[1], ARGV[5])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[2], id, ARGV[6])
  extendLikeRows(KEYS[2], KEYS[1])
else
  redis.call('HDEL', KEYS[2], id) -- an older version of this package leaves it when it deletes a row
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('ZADD', KEYS[3], 0, id)
  extendLikeRows(KEYS[3], KEYS[1])
end

-- A key expires with its longest session. To remove garbage before that, each login looks at ten
-- random rows. It looks at only ten, so a subject with many sessions costs no more than others. A
-- login adds
-- one row. So if one row in ten is garbage, each login removes about as many rows as it adds.
local rows = redis.call('HLEN', KEYS[1])
if rows > 1 then
  for _, other in ipairs(redis.call('HRANDFIELD', KEYS[1], 10)) do
    if isGarbage(redis.call('HGET', KEYS[1], other), at) then removable[#removable + 1] = other end
  end
end
removeRows(KEYS[1], KEYS[2], KEYS[3], removable)

-- An older version of this package leaves extras when it removes rows.
if redis.call('HLEN', KEYS[2]) > rows then
  for _, other in ipairs(redis.call('HRANDFIELD', KEYS[2], 10)) do
    if redis.call('HEXISTS', KEYS[1], other) == 0 then redis.call('HDEL', KEYS[2], other) end
  end
end
return 1
