-- KEYS  the sessions of a subject
-- Returns ids and rows in turn.
requireMaster()
requireWritable(KEYS[1]) -- a caller that ends all sessions needs a complete list
return redis.call('HGETALL', KEYS[1])
