-- Functions for all scripts. scripts.go puts this text before each script.

-- Entries stay for this many milliseconds after their end, so that a caller whose clock is
-- behind still finds them. It is the same as margin in redisstore.go.
local MARGIN = 300000

-- nowMicros returns the engine's clock in microseconds.
local function nowMicros()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- now returns the engine's clock in milliseconds. In rows, it only decides what is garbage.
local function now() return math.floor(nowMicros() / 1000) end

-- garbageAt returns a time in milliseconds as 15 digits, the form in which a row has it.
local function garbageAt(ms) return string.format('%015.0f', ms) end

-- before reports whether a < b, for numbers of 8 bytes that sort like the numbers. Lua's
-- own numbers are exact only up to 2^53, and Lua's order of strings depends on the locale.
local function before(a, b)
  for i = 1, 8 do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return false
end

-- keep makes a key expire after life milliseconds at the earliest.
local function keep(key, life)
  if redis.call('PTTL', key) < tonumber(life) then redis.call('PEXPIRE', key, life) end
end

-- requireMaster fails on a replica, which may lack the last revocations and logouts. It
-- returns INFO replication.
local function requireMaster()
  local info = redis.call('INFO', 'replication')
  if not info:find('role:master', 1, true) then error('this server is not a master') end
  return info
end

-- requireWritable fails if this server refuses to write. key is the key of a hash. It tries to
-- delete a field that no hash has, so it changes nothing. A server that refuses to write
-- (READONLY, NOREPLICAS, MISCONF) may have missed writes that other servers have confirmed. A
-- script therefore calls requireWritable before it returns a result on which the caller ends a
-- session, unless the script has written already. After this call, an engine whose memory is
-- full no longer stops the script. So if a full memory must stop a script, the script must not
-- call requireWritable before its first write.
local function requireWritable(key) redis.call('HDEL', key, '\255') end
