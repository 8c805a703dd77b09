-- KEYS  the sessions of a subject
-- Returns ids and rows, one after the other.
master()
return redis.call('HGETALL', KEYS[1])
