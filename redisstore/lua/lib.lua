-- Functions for all scripts. scripts.go puts this text before each script.

-- Entries stay for this many milliseconds after their end, so that a caller whose clock is
-- behind still finds them. The constant margin in redisstore.go has the same value.
local MARGIN = 300000

-- nowMicros returns the engine's clock in microseconds.
local function nowMicros()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- now returns the engine's clock in milliseconds. For rows, it decides only which are garbage.
local function now() return math.floor(nowMicros() / 1000) end

-- timeDigits returns a time in milliseconds as 15 digits, the form in which a row has it.
local function timeDigits(ms) return string.format('%015.0f', ms) end

-- before reports whether the number a is less than b. Both are encoded as 8 bytes that sort like
-- the numbers: Lua's own numbers are exact only up to 2^53. before compares bytes, because Lua's
-- order of strings depends on the locale.
local function before(a, b)
  for i = 1, 8 do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return false
end

-- extendExpiry makes a key expire after life milliseconds at the earliest.
local function extendExpiry(key, life)
  if redis.call('PTTL', key) < tonumber(life) then redis.call('PEXPIRE', key, life) end
end

-- requireMaster fails on a replica, which may lack the last revocations and logouts. It
-- returns INFO replication.
local function requireMaster()
  local info = redis.call('INFO', 'replication')
  if not info:find('role:master', 1, true) then error('this server is not a master') end
  return info
end

-- requireWritable fails if this server refuses to write (READONLY, NOREPLICAS, MISCONF). Such a
-- server may have missed writes that other servers have confirmed. The caller may end a session
-- because of a result. Before a script returns such a result, it must write, or call
-- requireWritable.
--
-- requireWritable is a write that changes nothing and needs no memory. From the hash at key, it
-- deletes a field whose name no hash uses. An engine whose memory is full refuses a script only at its first
-- write. So if a full memory must stop a script, the script must write something else first.
local function requireWritable(key) redis.call('HDEL', key, '\255') end
