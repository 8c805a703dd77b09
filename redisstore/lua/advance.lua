-- KEYS  the rows of a subject, their extras
-- ARGV  id, from, next generation, at, expires, life in ms, parent, epoch, and the details
--       if they are replaced
-- Returns nil if there is no session, or if it has expired at the time at. Otherwise returns four
-- values: 1 if the step was made or 0 if not; the row; its extra, or '' if there is none; the
-- engine's clock in us. SessionRecord.Step is the contract.
local id = ARGV[1]
local row = redis.call('HGET', KEYS[1], id)
if not row then
  requireWritable(KEYS[1])
  return false
end
checkRow(row)
if not before(ARGV[4], expiresOf(row)) then
  requireWritable(KEYS[1])
  return false
end
local text, extra = readExtra(KEYS[2], id, row)
local made = not before(ARGV[2], generationOf(row)) and not before(ARGV[8], extra.epoch)
local raised = before(extra.epoch, ARGV[8])

-- An engine whose memory is full refuses a script whose first write needs memory. The call of
-- requireWritable is a write that needs none. So users can log out even then, and the epoch can be
-- raised.
if not made or ARGV[3] == ENDED then requireWritable(KEYS[1]) end

local us = nowMicros()
if made then
  row = ARGV[3] .. generationOf(row) .. sortable(us) .. ARGV[5] .. row:sub(33, 40) .. timeDigits(math.floor(us / 1000) + ARGV[6]) .. row:sub(56)
  redis.call('HSET', KEYS[1], id, row)
  extendExpiry(KEYS[1], ARGV[6])
  extra.parent, extra.step, extra.details = ARGV[7], ARGV[3], ARGV[9] or extra.details
end
if raised then extra.epoch = ARGV[8] end
if made or raised then text = writeExtra(KEYS[2], KEYS[1], id, row, extra, text) end
return {made and 1 or 0, row, text or '', us}
