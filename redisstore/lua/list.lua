-- KEYS  the sessions of a subject
-- Returns alternating ids and rows.
requireMaster()
requireWritable(KEYS[1]) -- whoever ends all sessions of a subject believes that these are all
return redis.call('HGETALL', KEYS[1])
