-- Functions of the scripts that use the rows of sessions. sessions.go describes a row and
-- its extra. The bytes of a row are: 1-8 generation, 9-16 previous, 17-24 rotated, 25-32
-- expires, 33-40 the call of Create, 41-55 when the row is garbage, and from 56 on the data.

-- ZERO is 0, and ENDED is the generation of a session that has ended, both as 8 sortable bytes.
local ZERO, ENDED = '\128\0\0\0\0\0\0\0', ('\255'):rep(8)

local function generationOf(row) return row:sub(1, 8) end
local function expiresOf(row) return row:sub(25, 32) end

-- sortable encodes an integer from 0 to 2^53 as 8 bytes that sort like the numbers.
local function sortable(n)
  return struct.pack('>I4I4', math.floor(n / 4294967296) + 2147483648, n % 4294967296)
end

-- checkRow fails if a text is too short to be a row.
local function checkRow(row)
  if #row < 55 then error('this is not the row of a session') end
end

-- isGarbage reports whether a row may be removed. at is the current time in milliseconds.
local function isGarbage(row, at) return (tonumber(row:sub(41, 55)) or at) < at end

-- impliedParent returns the Parent and ParentStep of a row that has no extra. The function
-- impliedParent in sessions.go does the same.
local function impliedParent(row)
  if row:sub(9, 16) == ZERO then return ZERO, ZERO end
  local bytes = {row:byte(1, 8)}
  for i = 8, 1, -1 do -- subtract 1
    if bytes[i] > 0 then
      bytes[i] = bytes[i] - 1
      break
    end
    bytes[i] = 255
  end
  return string.char(unpack(bytes)), generationOf(row)
end

-- readExtra returns the extra of a row as text, or nil if there is none, and the parts of the extra.
local function readExtra(key, id, row)
  local text = redis.call('HGET', key, id)
  if not text then
    local parent, step = impliedParent(row)
    return nil, {epoch = ZERO, parent = parent, step = step, details = ''}
  end
  if #text < 24 then error('this is not the extra of a session') end
  return text, {epoch = text:sub(1, 8), parent = text:sub(9, 16), step = text:sub(17, 24), details = text:sub(25)}
end

-- extendLikeRows makes a key expire when the key of the rows does, or later.
local function extendLikeRows(key, rows) extendExpiry(key, math.max(redis.call('PTTL', rows), MARGIN)) end

-- writeExtra stores the extra of a row. If the extra has only the values that readExtra returns for a
-- row without an extra, writeExtra removes it. old is the text that is stored now, or nil. writeExtra returns the new text, or '' if there
-- is none.
local function writeExtra(key, rows, id, row, extra, old)
  local parent, step = impliedParent(row)
  if extra.epoch == ZERO and extra.details == '' and extra.parent == parent and extra.step == step then
    if old then redis.call('HDEL', key, id) end
    return ''
  end
  local text = extra.epoch .. extra.parent .. extra.step .. extra.details
  if text ~= old then redis.call('HSET', key, id, text) end
  extendLikeRows(key, rows)
  return text
end

-- inBatches calls f with at most 1000 elements of a list at a time. Lua cannot unpack many
-- more.
local function inBatches(list, f)
  for first = 1, #list, 1000 do f(unpack(list, first, math.min(first + 999, #list))) end
end

-- removeRows removes rows, and everything that belongs to them.
local function removeRows(rows, extras, index, ids)
  inBatches(ids, function(...)
    redis.call('HDEL', rows, ...)
    redis.call('HDEL', extras, ...)
    redis.call('ZREM', index, ...)
  end)
end

-- The index of a subject is a sorted set of all its session ids, in the order of their bytes. It
-- exists only if the subject had more than 1000 sessions when they were listed. An older version
-- of this package adds and removes rows without changing the index. So the index may lack the ids
-- of some rows, and may have ids without a row. While the index is incomplete, it has one more
-- member: the byte 255 and the cursor of index.lua. No id has this byte, because ids are UTF-8.

-- storedCursor returns the cursor in the index, or nil if there is none.
local function storedCursor(index)
  local member = redis.call('ZRANGEBYLEX', index, '[\255', '+', 'LIMIT', 0, 1)[1]
  return member and member:sub(2)
end

-- countIDs returns how many ids the index has.
local function countIDs(index) return redis.call('ZCARD', index) - (storedCursor(index) and 1 or 0) end

-- idsAfter returns at most count ids of the index, from the one after id on.
local function idsAfter(index, id, count)
  return redis.call('ZRANGEBYLEX', index, id == '' and '-' or '(' .. id, '(\255', 'LIMIT', 0, count)
end
