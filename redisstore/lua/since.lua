-- KEYS  entries, log, epoch
-- ARGV  origin, number of the last log entry that was read, cursor of ZSCAN or '', count,
--       a random text for a new epoch, nonce of the last log entry that was read
-- Returns the origin, the number of the last log entry that was read, the cursor of ZSCAN
-- ('' if the entries are from the log), ids and ends in turn, and the nonce of the last log
-- entry that was read. The origin names the server and the log: run_id, master_replid and the
-- epoch of the log, joined by dots.
local info = requireMaster()
local last = ensureLog(KEYS[1], KEYS[2], KEYS[3], ARGV[5])
for i = 2, 3 do
  if redis.call('PTTL', KEYS[i]) < 3600000 then redis.pcall('PEXPIRE', KEYS[i], 7200000) end
end
local epoch = redis.call('GET', KEYS[3])
local origin = table.concat({
  redis.call('INFO', 'server'):match('run_id:(%x+)') or error('INFO has no run_id'),
  info:match('master_replid:(%x+)') or error('INFO has no master_replid'),
  epoch,
}, '.')
local number, scan, count = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local first = numberOf(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1])

-- If the server has restarted or another one has become the master, it may have lost its last
-- entries. But if it has the last entry that the reader has read, it has lost no entry that the
-- reader has read. An entry with another nonce belongs to another log, even if the origin is the
-- same.
local nonce = nonceAt(KEYS[2], number)
local sameOrigin = origin == ARGV[1]
local hasLastRead = scan == '' and nonce ~= '' and nonce == ARGV[6] and ARGV[1]:match('^%x+%.%x+%.(.*)$') == epoch
if number < first - 1 or number > last or number >= first and nonce ~= ARGV[6] or not (sameOrigin or hasLastRead) then
  number, scan = last, '0' -- list all entries, and later the log from here on
elseif scan == '' then
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], string.format('0-%.0f', number + 1), '+', 'COUNT', count)) do
    number = numberOf(entry)
    found[#found + 1] = entry[2][2]
    found[#found + 1] = entry[2][4]
  end
  return {origin, number, '', found, nonceAt(KEYS[2], number)}
end
local found = redis.call('ZSCAN', KEYS[1], scan, 'COUNT', count)
return {origin, number, found[1], found[2], nonceAt(KEYS[2], number)}
