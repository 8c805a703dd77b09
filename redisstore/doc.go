// Package redisstore keeps sessions and revocations in Redis or Valkey, 6.2 or
// later, single, behind Sentinel, or a cluster, so that many machines share them.
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"127.0.0.1:6379"},
//		ContextTimeoutEnabled: true,
//	})
//	store, err := redisstore.New(client, redisstore.Options{})
//	// handle err
//	warnings, err := store.Check(ctx) // log the warnings; an error means: do not start
//
// Each call is one round trip, and each that changes something is one atomic step
// on the server. ContextTimeoutEnabled is required, as the client does not keep
// the deadline of a context without it. Where nothing answers, a call ends at its
// deadline with an error, and jwtauth answers 503; a context that is cancelled and
// has no deadline ends a call that is under way at the client's ReadTimeout.
//
// # What the promise needs
//
// The session store is an allow list: what the engine loses has to log in again.
// The revocation store is a deny list: what the engine loses is accepted again.
// So the engine must not lose what it has confirmed:
//
//   - maxmemory-policy noeviction, the default of Redis. Any other policy may drop
//     revocations to make room, and every key here has an expiry, so the volatile
//     policies do too. [Store.Check] refuses them.
//   - appendonly yes. Then nothing is lost when the process alone dies, unless its
//     disk was full and appendfsync is not always. When the machine fails, appendfsync always loses nothing, for a price at each write;
//     everysec, the default, up to a second; no, half a minute or more. Without
//     appendonly, a restart goes back to the last snapshot, or to nothing.
//   - With replicas, min-replicas-to-write 1 and a small min-replicas-max-lag. A
//     failover goes to a replica that may not have received the last writes; these
//     bound for how long a master that was cut off confirms writes that will be
//     lost. Redis has no setting under which a failover never loses a confirmed
//     write: with WAIT a writer learns whether it reached a replica, too late to
//     take it back, so it is not used here.
//   - No other program that deletes keys under the prefix, and clocks of the callers
//     that agree within the leeway of the verifiers. The engine's own clock decides
//     nothing but what is garbage.
//
// # What happens when it fails
//
//   - The engine is down, loading, slow or cannot write to its disk: calls are
//     errors, nobody is let in and nobody is logged out. A call that got no answer
//     may have taken effect. The client sends again what failed on its way, which is
//     safe for all calls here; a Create whose answer was lost is done once.
//   - Its memory is full: logins and refreshes are errors. Reading goes on, and so do
//     logouts: Delete frees memory, and Revoke is let through beyond maxmemory, for
//     170 bytes each.
//   - It restarts, with its files or without, is flushed, is restored from an older
//     dump, fails over, or the keys move to another node: no cursor of
//     [Store.Since] from before is good any more, so that each reader gets all there
//     is, and knows that it has to send again what it had revoked and may be lost.
//   - A failover loses the last writes. Lost revocations come back as said, lost
//     logins have to log in again, and lost refreshes roll forward. A session whose
//     Delete was lost is there again: a refresh through a Replica ends it while its
//     revocation lasts; after that, who holds its newest refresh token can go on with
//     it until its idle end or another logout.
//   - The scripts are forgotten (SCRIPT FLUSH, restart): the next call of each kind
//     takes one round trip more.
//
// Reading is from masters only, whatever routing the client is set to: a server that
// knows it is a replica refuses. A master that was cut off and does not know it yet
// still answers, for cluster-node-timeout at most in a cluster. [New] refuses a
// redis.Ring, as it goes on without the keys of a server that failed.
//
// # What is stored
//
// One hash for each issuer and subject, named by a digest of both, with a field for
// each session; a session that is refreshed ten thousand times is still one, of the
// same size. For the revocations a sorted set by end, a stream of at least the last
// 131,072 of them for [Store.Since], and the random epoch of the two, all in one hash
// slot; where that is too much for one server, give each issuer a store with a prefix
// of its own. Every key has an expiry, at least five minutes after the last end of
// what is in it. There is no token in any of it, and nothing from which one could be
// made. As measured on Redis 7.0: 650 bytes a session with 200 bytes of data, 170
// bytes a revocation; a first copy of a million revocations takes the engine 1.1 s, a
// millisecond at a time.
//
// A user with these rights is enough, for the prefix jwtauth:
//
//	ACL SETUSER jwtauth on >secret ~jwtauth:* &jwtauth:* -@all +@connection +eval +evalsha
//	  +hget +hset +hlen +hdel +hgetall +hrandfield +get +set +del +exists
//	  +zadd +zscore +zrangebyscore +zrem +zscan +xadd +xrange +xrevrange
//	  +pttl +pexpire +time +info +publish +subscribe +unsubscribe
//	  +command +cluster|slots +cluster|shards +readonly +config|get
package redisstore
