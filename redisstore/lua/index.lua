-- KEYS  the rows of a subject, the index
-- ARGV  cursor, count
-- The index is made in steps. One call makes one step, for about count rows. Returns the next
-- cursor, or '' after the last step. A cursor is 's' and the cursor of HSCAN, or 'p' and the
-- last id that was checked.
--
-- The first step has the cursor 's0'. The steps with 's' add the ids of rows to the index. If a
-- row exists during all of these steps, its id is added. Then, if the index has more ids than
-- there are rows, the steps with 'p' remove the ids without a row.
requireMaster()
requireWritable(KEYS[1])
local phase, place, count = ARGV[1]:sub(1, 1), ARGV[1]:sub(2), tonumber(ARGV[2])
local cursor = ''
if phase == 's' then
  local page = redis.call('HSCAN', KEYS[1], place, 'COUNT', count)
  local ids = {}
  for i = 1, #page[2], 2 do ids[#ids + 1] = page[2][i] end
  inSteps(ids, function(...)
    local members = {}
    for _, id in ipairs({...}) do
      members[#members + 1] = 0
      members[#members + 1] = id
    end
    redis.call('ZADD', KEYS[2], unpack(members))
  end)
  if page[1] ~= '0' then
    cursor = 's' .. page[1]
  elseif sizeOf(KEYS[2]) > redis.call('HLEN', KEYS[1]) then
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
keepLike(KEYS[2], KEYS[1])
return cursor
