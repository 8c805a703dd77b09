-- KEYS  entries
-- ARGV  ids
-- Returns the latest end of any of them in us, or 0.
requireMaster()
local latest = 0
for _, id in ipairs(ARGV) do
  latest = math.max(latest, tonumber(redis.call('ZSCORE', KEYS[1], id) or 0))
end
return latest
