-- What the scripts share; it stands before each of them.

-- Entries stay for this long after their end, so that a caller whose clock is
-- behind still finds them. Milliseconds; the same as margin in redisstore.go.
local MARGIN = 300000

-- now is the engine's clock in milliseconds. It only decides what is garbage.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- garbageAt is a time of now as the 15 digits that stand in a row.
local function garbageAt(ms) return string.format('%015.0f', ms) end

-- before says whether a < b, for integers of 8 bytes whose bytes are in the same
-- order as the numbers. Lua's own numbers are exact up to 2^53 only, and its
-- order of strings depends on the locale.
local function before(a, b)
  for i = 1, 8 do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return false
end

-- keep gives a key at least life more milliseconds.
local function keep(key, life)
  if redis.call('PTTL', key) < tonumber(life) then redis.call('PEXPIRE', key, life) end
end

-- master is INFO replication of this server, which must not be a replica: one may
-- not have heard yet of what was revoked or ended.
local function master()
  local info = redis.call('INFO', 'replication')
  if not info:find('role:master', 1, true) then error('this server is not a master') end
  return info
end
