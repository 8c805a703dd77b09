// Package redisstore keeps sessions and revocations in Redis or Valkey, 6.2 or later, so
// that many machines can share them. The engine may be a single server, behind Sentinel, or
// a cluster.
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"127.0.0.1:6379"},
//		ContextTimeoutEnabled: true,
//	})
//	store, err := redisstore.New(client, redisstore.Options{})
//	// handle err
//	warnings, err := store.Check(ctx) // log the warnings; do not start if there is an error
//
// In a cluster, all revocations are on one master. If that master fails, the client must
// soon find the new one. By default, go-redis looks for it only once a minute. Set a shorter
// interval:
//
//	client := redis.NewClusterClient(&redis.ClusterOptions{
//		Addrs:                      []string{"127.0.0.1:7000", "127.0.0.1:7001"},
//		ContextTimeoutEnabled:      true,
//		ClusterStateReloadInterval: time.Second,
//	})
//
// Each call takes one round trip, with two exceptions: [Store.List] for a subject with more than
// 1000 sessions, and [Store.Since] if there are many new entries. Each change is atomic on the
// server.
//
// ContextTimeoutEnabled is required, because without it the client ignores the deadline of
// a context. With it, if the engine does not answer, a call ends at its deadline with an error,
// and jwtauth answers 503. If a context without a deadline is canceled during a call, the call
// ends at the client's ReadTimeout.
//
// # How to configure the engine
//
// The session store is an allow list: if the engine loses a session, the user has to log in
// again. The revocation store is a deny list: if the engine loses a revocation, the token
// is accepted again. So the engine must not lose writes that it has confirmed:
//
//   - maxmemory-policy noeviction, the default of Redis. Any other policy may drop
//     revocations to make room. This includes the volatile policies, because every key here
//     has an expiry. [Store.Check] refuses them if maxmemory is set, and otherwise warns.
//   - appendonly yes. Then a crash of the process loses nothing. There is one exception: if the
//     disk was full, writes can be lost, except with appendfsync "always". If the machine fails, the loss depends on appendfsync:
//     "always" loses nothing, but makes each write slower; "everysec", the default, loses up
//     to a second; "no" loses half a minute or more. Without appendonly, a restart goes back
//     to the last snapshot, or to nothing.
//   - If the server has Redis replicas: min-replicas-to-write 1, a small
//     min-replicas-max-lag, and at least two replicas. With only one, a failover would leave
//     a master without a replica, which refuses all writes. A failover may go to a replica
//     that has not received the last writes. A master that is cut off from its replicas may
//     confirm writes that the failover loses, and these settings limit for how long. Check
//     warns if a master has replicas and min-replicas-to-write is 0. For a planned failover,
//     use FAILOVER or CLUSTER FAILOVER, which wait for the replica. SENTINEL FAILOVER does
//     not wait. Redis has no setting under which a failover never loses a confirmed write.
//     The package does not use WAIT, which only tells the writer whether a write has reached
//     a replica, and cannot undo the write.
//   - No other program may delete or change keys with the prefix. If you change the keys of
//     the revocations by hand, for example from a backup, delete the key with the suffix
//     ":epoch" afterwards. All readers then read all entries again.
//
// The clocks of the callers must differ by less than the leeway of the verifiers. The engine's
// own clock decides when expired entries are removed, and how long ago a refresh was. If this
// clock jumps forward, for example by a failover to another server, a repeated refresh seems to
// come later than it does, by the length of the jump.
//
// # When the engine fails
//
//   - The engine is down, loading, slow, or cannot write to its disk: calls return errors.
//     Nobody is let in and nobody is logged out. A call that got no answer may have taken
//     effect. The client repeats calls that failed on the network. This is safe for all
//     calls: a repeated Create, for example, creates one session.
//   - The memory of the engine is full: logins and refreshes return errors. Reading and
//     logging out still work: Delete frees memory, and Revoke may exceed maxmemory by 190
//     bytes per revocation. Advance may exceed it by 210 bytes per session if it ends the session or
//     only raises the epoch. List may exceed it by 140 bytes per session of a subject with
//     more than 1000 sessions.
//   - The engine restarts (with or without its files), is flushed, is restored from an older dump or
//     fails over, or the keys move to another node. [Store.Since] then reports a reset. Each
//     [replica.Replica] sends its own revocations to the store again. An engine that loses
//     writes loses the last ones. So if the engine still has the entry that was read last, it
//     has all earlier ones, and Since lists only the newer ones. Otherwise Since lists all
//     entries.
//   - A failover loses the last writes. Lost revocations are sent again as described above.
//     If a login was lost, the user has to log in again. If a refresh was lost, the next
//     refresh replaces the lost write. If the end of a session was lost, the session exists again. An issuer that uses a replica.Replica ends such a session at its next refresh, as long as the revocation of the session has not ended. After that, a client with the newest refresh
//     token can continue the session until it is idle for too long or is logged out again.
//   - The engine forgets the scripts (SCRIPT FLUSH, restart): the next call of each kind takes one
//     more round trip.
//
// All calls go to masters, whatever the client's routing is. A server that knows that it is a
// replica refuses all calls. A server that refuses to write (NOREPLICAS, MISCONF) may lack
// writes that other servers have confirmed. It refuses Create, Advance, Delete, List and Revoke.
// So if this server lacks a session, the issuer gets an error, and does not treat the session as
// ended. Such a server still answers IsRevoked and Since with the entries that it has. So does a
// master that is cut off and has not noticed it: in a cluster for at most cluster-node-timeout,
// behind Sentinel until the network works again. [New] refuses a redis.Ring, because a Ring
// continues without the keys of a failed server.
//
// # What is stored
//
// Each pair of issuer and subject has one hash, named by a digest of both, with one field for
// each session. A session that is refreshed ten thousand times is still one field of the same
// size. A second hash has a field for each session that has Details, had a
// [jwtauth.Issuer.ForceRefresh], or recovered a lost answer at its last refresh. If a subject
// has more than 1000 sessions and they are listed, a sorted set has their ids. Earlier versions
// of this package know only the first hash, and may use the same sessions at the same time. They
// do not extend the life of the second hash, and apply no limit.
//
// The revocations are in three keys of one hash slot. One is a sorted set, whose scores are the ends
// of the revocations. One is a stream with at least the last 131,072 changes, for [Store.Since]. One
// is a random text, in the key with the suffix ":epoch". The text changes if the engine has lost one of the other keys. If the revocations are
// too much for one server, give each issuer a store with a prefix of its own.
//
// Every key expires, at the earliest five minutes after the last end of its entries. Only the
// sorted set of session ids may expire before, and is then made again. No key or value contains
// a token, or anything that a token could be made of. Measured with Redis 7.0: 650 bytes for a
// session with 200 bytes of data, 420 bytes more with 100 bytes of Details if it is the only
// session of its subject, 140 bytes for an id in a sorted set, 190 bytes for a revocation.
// Reading a million revocations for the first time takes the engine 1.1 s, a millisecond at
// a time.
//
// However many sessions a subject has, no script blocks the engine for long. Measured with a
// million sessions of one subject: a page of 1000 rows blocks the engine for 3 to 6 ms, and a
// login at a limit of 1000 sessions for 3 ms. To list all sessions for the first time takes 8 s,
// 4 ms at a time; if the context ends before, the next call continues. But if lazyfree-lazy-expire
// is no, the engine is blocked while it frees a large key that has expired.
//
// A user with these rights is enough, for the prefix jwtauth:
//
//	ACL SETUSER jwtauth on >secret ~jwtauth:* &jwtauth:* -@all +@connection +eval +evalsha
//	  +hget +hset +hlen +hdel +hmget +hgetall +hexists +hscan +hrandfield
//	  +get +set +del +unlink +exists +xadd +xrange +xrevrange
//	  +zadd +zcard +zscore +zrangebyscore +zrangebylex +zrem +zremrangebylex +zscan
//	  +pttl +pexpire +time +info +publish +subscribe +unsubscribe
//	  +command +cluster|slots +cluster|shards +readonly +config|get
package redisstore
