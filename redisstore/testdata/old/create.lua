-- KEYS  the sessions of a subject
-- ARGV  id, numbers of the row, random id of this call, data, life in ms
-- Returns 1, or 0 if the id exists already.
local existing = redis.call('HGET', KEYS[1], ARGV[1])
if existing then
  -- The client repeats a call whose answer was lost.
  requireWritable(KEYS[1])
  return existing:sub(33, 40) == ARGV[3] and 1 or 0
end
local at = now()
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ARGV[3] .. garbageAt(at + ARGV[5]) .. ARGV[4])
keep(KEYS[1], ARGV[5])

-- A key expires with its longest session. To find sessions that have ended earlier, look at
-- ten random ones, so that a subject with many sessions costs no more than others. About one
-- in ten sessions may then be garbage.
if redis.call('HLEN', KEYS[1]) > 1 then
  for _, id in ipairs(redis.call('HRANDFIELD', KEYS[1], 10)) do
    if (tonumber(redis.call('HGET', KEYS[1], id):sub(41, 55)) or at) < at then redis.call('HDEL', KEYS[1], id) end
  end
end
return 1
