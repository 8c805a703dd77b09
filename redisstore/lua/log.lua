-- Functions of the scripts that use the log of revocations.
--
-- The log is a stream whose ids are 0-1, 0-2 and so on, so a reader notices a gap. The
-- first entry marks the beginning and has no revocation. Each further entry has a random
-- text, its nonce. If a log has an entry with the number and the nonce that a reader has
-- read, it also has every earlier entry that the reader has read: an engine that loses
-- writes loses the last ones.

-- numberOf returns the number of a log entry.
local function numberOf(entry) return tonumber(entry[1]:sub(3)) end

-- nonceAt returns the nonce of the log entry with a number. It returns '' if the entry is no
-- longer there, is the first one, or was written by an older version of this package.
local function nonceAt(log, number)
  local id = string.format('0-%.0f', number)
  local entry = redis.call('XRANGE', log, id, id)[1]
  return entry and entry[2][6] or ''
end

-- ensureLog returns the number of the last log entry. If log, epoch and entries do not
-- belong together, because the engine has lost some of them, it begins a new log and a new
-- epoch. Readers then read all entries again.
local function ensureLog(entries, log, epoch, random)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if last and redis.call('EXISTS', epoch) == 1 then
    local number = numberOf(last)
    if number == 1 or redis.call('EXISTS', entries) == 1 then return number end
  end
  redis.call('SET', epoch, random)
  redis.call('DEL', log)
  redis.call('XADD', log, '0-1', 'begin', '')
  return 1
end
