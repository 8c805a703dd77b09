-- KEYS  the rows of a subject, the index
-- ARGV  cursor, count
-- Completes the index in several calls, each for about count rows. The first call has the cursor
-- 's0'. Each call returns the cursor for the next call, or '' if the index is complete.
--
-- The phase s adds the ids of the rows to the index. If a row exists during the whole phase, its
-- id is added. A cursor of this phase is 's' and the cursor of HSCAN. Then, if the index has more
-- ids than there are rows, the phase p removes the ids without a row. A cursor of this phase is
-- 'p' and the last id that was checked.
requireMaster()
requireWritable(KEYS[1])
local phase, place, count = ARGV[1]:sub(1, 1), ARGV[1]:sub(2), tonumber(ARGV[2])
local cursor = ''
if phase == 's' then
  local page = redis.call('HSCAN', KEYS[1], place, 'COUNT', count)
  local ids = {}
  for i = 1, #page[2], 2 do ids[#ids + 1] = page[2][i] end
  inBatches(ids, function(...)
    local members = {}
    for _, id in ipairs({...}) do
      members[#members + 1] = 0
      members[#members + 1] = id
    end
    redis.call('ZADD', KEYS[2], unpack(members))
  end)
  if page[1] ~= '0' then
    cursor = 's' .. page[1]
  elseif countIDs(KEYS[2]) > redis.call('HLEN', KEYS[1]) then
    cursor = 'p'
  end
else
  local ids, gone = idsAfter(KEYS[2], place, count), {}
  for _, id in ipairs(ids) do
    if redis.call('HEXISTS', KEYS[1], id) == 0 then gone[#gone + 1] = id end
  end
  if #gone > 0 then redis.call('ZREM', KEYS[2], unpack(gone)) end
  if #ids == count then cursor = 'p' .. ids[#ids] end
end
redis.call('ZREMRANGEBYLEX', KEYS[2], '[\255', '+')
if cursor ~= '' then redis.call('ZADD', KEYS[2], 0, '\255' .. cursor) end
extendLikeRows(KEYS[2], KEYS[1])
return cursor
