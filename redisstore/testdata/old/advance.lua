-- KEYS  the sessions of a subject
-- ARGV  id, from, next generation, at, expires, life in ms
-- Returns nil if there is no session. Otherwise returns 1 if the session was advanced, or 0,
-- and the row.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then
  requireWritable(KEYS[1])
  return false
end
if #row < 55 then error('this is not the row of a session') end
if not before(ARGV[4], row:sub(25, 32)) then
  requireWritable(KEYS[1])
  return false
end
local generation = row:sub(1, 8)
if before(ARGV[2], generation) then
  requireWritable(KEYS[1])
  return {0, row}
end
row = ARGV[3] .. generation .. ARGV[4] .. ARGV[5] .. row:sub(33, 40) .. garbageAt(now() + ARGV[6]) .. row:sub(56)
redis.call('HSET', KEYS[1], ARGV[1], row)
keep(KEYS[1], ARGV[6])
return {1, row}
