-- What the scripts of the log share.
--
-- The log is a stream whose ids are 0-1, 0-2 and so on, so that a gap can be seen.
-- The first entry is there from the start and tells of nothing.

-- numberOf is the number of an entry of the log.
local function numberOf(entry) return tonumber(entry[1]:sub(3)) end

-- begin makes a new log of a new epoch, unless log, epoch and entries belong
-- together; readers then start anew. It returns the number of the last entry.
local function begin(entries, log, epoch, random)
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
