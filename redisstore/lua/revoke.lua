-- KEYS  entries, log, epoch
-- ARGV  id, until in us, life in ms, the caller's time in us, a random text,
--       how many entries the log keeps, channel

-- The engine's clock or the caller's may be wrong for a moment. So an entry has ended only if it
-- has ended by both clocks. life is how long the entry
-- must stay. It is computed by each of the two clocks, and the longer time counts.
local at, till = now(), tonumber(ARGV[2])
local ended = math.min(at * 1000, tonumber(ARGV[4])) - MARGIN * 1000
if till <= ended then return 0 end
local life = math.max(tonumber(ARGV[3]), math.ceil(till / 1000) - at + MARGIN)

-- An engine whose memory is full refuses a script whose first write needs memory. PEXPIRE
-- needs no memory, so users can log out even if the engine is full.
redis.call('PEXPIRE', KEYS[3], math.max(redis.call('PTTL', KEYS[3]), life))

local last = ensureLog(KEYS[1], KEYS[2], KEYS[3], ARGV[5])
local stored = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not stored or tonumber(stored) < till then
  -- The log is written before the entries. If an entry were stored but not logged, a repeated call
  -- would find the entry and never log it. If log entries were deleted by hand, XADD may refuse the
  -- next number, and a new log begins.
  local nonce = redis.sha1hex(nonceAt(KEYS[2], last) .. ARGV[5] .. string.format('%.0f', nowMicros())):sub(1, 16)
  local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], string.format('0-%.0f', last + 1), 'i', ARGV[1], 'u', ARGV[2], 'n', nonce)
  if type(added) == 'table' then beginLog(KEYS[2], KEYS[3], ARGV[5]) end
  redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
  extendExpiry(KEYS[1], life)
end
for i = 2, 3 do extendExpiry(KEYS[i], life) end
if stored and tonumber(stored) >= till then return 0 end

local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ended), 'LIMIT', 0, 32)
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end

redis.pcall('PUBLISH', ARGV[7], '') -- a user without the right to publish may still revoke
return 1
