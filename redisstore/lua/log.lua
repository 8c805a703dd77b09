-- Functions of the scripts that use the log of revocations.
--
-- The log is a stream whose ids are 0-1, 0-2 and so on, so a reader notices a gap. The
-- first entry marks the beginning and has no revocation. Each further entry has a nonce: a
-- hash of the nonce before it, a random text of the caller, and the time. An engine that
-- loses writes loses the last ones. So if a log has the last entry that a reader has read,
-- with the same number and nonce, then it has lost no entry that the reader has read. The
-- random text alone would not be enough: a client that gets no answer sends the same text to
-- another server, whose earlier entries may differ.
--
-- The epoch of the log is a random text, which is different for each log. It is not the epoch
-- of a session.

-- numberOf returns the number of a log entry.
local function numberOf(entry) return tonumber(entry[1]:sub(3)) end

-- nonceAt returns the nonce of the log entry with the given number. It returns '' if the entry is
-- not there, is the first one, or was written by an older version of this package.
local function nonceAt(log, number)
  local id = string.format('0-%.0f', number)
  local entry = redis.call('XRANGE', log, id, id)[1]
  return entry and entry[2][6] or ''
end

-- beginLog begins a new log with a new epoch. Readers then read all entries again.
local function beginLog(log, epoch, random)
  redis.call('SET', epoch, redis.sha1hex(random .. string.format('%.0f', nowMicros())))
  redis.call('DEL', log)
  redis.call('XADD', log, '0-1', 'begin', '')
end

-- ensureLog returns the number of the last log entry. If the log, the epoch or the entries are
-- missing, it begins a new log.
local function ensureLog(entries, log, epoch, random)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if last and redis.call('EXISTS', epoch) == 1 then
    local number = numberOf(last)
    if number == 1 or redis.call('EXISTS', entries) == 1 then return number end
  end
  beginLog(log, epoch, random)
  return 1
end
