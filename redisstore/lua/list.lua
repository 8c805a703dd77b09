-- KEYS  the sessions of a subject
-- Returns alternating ids and rows.
requireMaster()
return redis.call('HGETALL', KEYS[1])
