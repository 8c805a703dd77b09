-- KEYS  the sessions of a subject
-- ARGV  id, row, mark of this call, data, life in ms
-- Returns 1, or 0 if the id is there already.
local there = redis.call('HGET', KEYS[1], ARGV[1])
if there then
  -- The client sends a call again whose answer was lost.
  return there:sub(33, 40) == ARGV[3] and 1 or 0
end
local at = now()
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ARGV[3] .. garbageAt(at + ARGV[5]) .. ARGV[4])
keep(KEYS[1], ARGV[5])

-- A key lives as long as its longest session. Those that ended before are looked
-- for at random, a few at a time, so that a subject with many sessions costs no
-- more than others; about one in ten may be garbage then.
if redis.call('HLEN', KEYS[1]) > 1 then
  for _, id in ipairs(redis.call('HRANDFIELD', KEYS[1], 10)) do
    if (tonumber(redis.call('HGET', KEYS[1], id):sub(41, 55)) or at) < at then redis.call('HDEL', KEYS[1], id) end
  end
end
return 1
