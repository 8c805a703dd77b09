-- KEYS  entries, log, epoch
-- ARGV  engine, number of the last log entry that was read, cursor of ZSCAN or '', count,
--       a random epoch
-- Returns the engine, the number of the last log entry that was read, the cursor of ZSCAN
-- ('' if the entries are from the log), and ids and ends in turn.
local info = requireMaster()
local last = ensureLog(KEYS[1], KEYS[2], KEYS[3], ARGV[5])
for i = 2, 3 do
  if redis.call('PTTL', KEYS[i]) < 3600000 then redis.pcall('PEXPIRE', KEYS[i], 7200000) end
end
local engine = table.concat({
  redis.call('INFO', 'server'):match('run_id:(%x+)') or error('INFO has no run_id'),
  info:match('master_replid:(%x+)') or error('INFO has no master_replid'),
  redis.call('GET', KEYS[3]),
}, '.')
local number, scan, count = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local first = numberOf(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1])

if engine ~= ARGV[1] or number < first - 1 or number > last then
  number, scan = last, '0' -- list all entries, and later the log from here on
elseif scan == '' then
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], string.format('0-%.0f', number + 1), '+', 'COUNT', count)) do
    number = numberOf(entry)
    found[#found + 1] = entry[2][2]
    found[#found + 1] = entry[2][4]
  end
  return {engine, number, '', found}
end
local found = redis.call('ZSCAN', KEYS[1], scan, 'COUNT', count)
return {engine, number, found[1], found[2]}
