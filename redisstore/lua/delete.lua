-- KEYS  the rows of a subject, their extras, the index
-- ARGV  id
-- No command of this script needs memory, so users can log out even if the engine is full.
removeRows(KEYS[1], KEYS[2], KEYS[3], {ARGV[1]})
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('UNLINK', KEYS[2], KEYS[3]) end
return 1
