-- KEYS  entries, log, epoch
-- ARGV  id, until in us, life in ms, the caller's time in us, a random epoch,
--       how many entries the log keeps, channel

-- An engine whose memory is full refuses a script whose first write needs memory. PEXPIRE
-- needs none, so that users can log out even if the engine is full.
redis.call('PEXPIRE', KEYS[3], math.max(redis.call('PTTL', KEYS[3]), tonumber(ARGV[3])))

local last = ensureLog(KEYS[1], KEYS[2], KEYS[3], ARGV[5])
for i = 2, 3 do keep(KEYS[i], ARGV[3]) end
if redis.call('ZADD', KEYS[1], 'GT', 'CH', ARGV[2], ARGV[1]) == 0 then return 0 end
keep(KEYS[1], ARGV[3])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], string.format('0-%.0f', last + 1), 'i', ARGV[1], 'u', ARGV[2])

-- Remove only entries that have ended by both clocks, so that a caller whose clock is wrong
-- cannot remove entries that others still need.
local ended = math.min(now() * 1000, tonumber(ARGV[4])) - MARGIN * 1000
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ended), 'LIMIT', 0, 32)
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end

redis.pcall('PUBLISH', ARGV[7], '') -- a user without the right to publish may still revoke
return 1
