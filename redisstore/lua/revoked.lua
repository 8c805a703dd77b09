-- KEYS  entries
-- ARGV  ids
-- Returns the latest end of these ids in us, or 0 if none is an entry.
requireMaster()
local latest = 0
for _, id in ipairs(ARGV) do
  latest = math.max(latest, tonumber(redis.call('ZSCORE', KEYS[1], id) or 0))
end
return latest
