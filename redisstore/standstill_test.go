package redisstore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// A server that cannot write may have missed a session, a rotation or a logout. What it
// does not know proves nothing.

// unwritable returns, for each reason for which a server refuses to write, a server on
// which the tests may store rows, and a function that makes the server refuse from then on.
var unwritable = map[string]func(t *testing.T) (server *engines.Server, refuse func()){
	"READONLY": func(t *testing.T) (*engines.Server, func()) {
		server, other := engines.Redis(t), engines.Redis(t)
		return server, func() {
			replicate(t, other, server)
			promote(t, other) // from here on, the servers differ
			host, port := hostPort(other)
			require.NoError(t, clientOf(t, server).ReplicaOf(t.Context(), host, port).Err())
		}
	},
	"NOREPLICAS": func(t *testing.T) (*engines.Server, func()) {
		server := engines.Redis(t)
		return server, func() {
			require.NoError(t, clientOf(t, server).ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
		}
	},
	"MISCONF": func(t *testing.T) (*engines.Server, func()) {
		folder := filepath.Join(t.TempDir(), "data")
		require.NoError(t, os.Mkdir(folder, 0o755))
		server := engines.Redis(t, "--dir", folder)
		return server, func() {
			require.NoError(t, os.Remove(folder))
			failSnapshot(t, clientOf(t, server))
		}
	},
}

// failSnapshot makes a server notice that it cannot write its snapshot, as if its disk were
// full.
func failSnapshot(t *testing.T, c *redis.Client) {
	t.Helper()
	require.NoError(t, c.ConfigSet(t.Context(), "save", "3600 1").Err())
	require.NoError(t, c.BgSave(t.Context()).Err())
	require.Eventually(t, func() bool {
		info, err := c.InfoMap(t.Context(), "persistence").Result()
		return err == nil && info["Persistence"]["rdb_last_bgsave_status"] == "err"
	}, 10*time.Second, 10*time.Millisecond)
}

// impatient returns a client that does not repeat calls.
func impatient(t *testing.T, server *engines.Server) *redis.Client {
	t.Helper()
	o := optionsOf(server)
	o.MaxRetries = -1
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAServerThatCannotWriteNeverSaysThatASessionIsMissing(t *testing.T) {
	for reason, start := range unwritable {
		t.Run(reason, func(t *testing.T) {
			server, refuse := start(t)
			store := newStore(t, impatient(t, server))
			require.NoError(t, store.Create(t.Context(), row("alice", "rotated", time.Hour), 0))
			_, _, err := store.Advance(t.Context(), keyOf("alice", "rotated"), rotation(1, time.Hour))
			require.NoError(t, err)
			ended := row("alice", "ended", time.Hour)
			ended.ExpiresAt = ended.RotatedAt
			require.NoError(t, store.Create(t.Context(), ended, 0))
			refuse()
			for name, id := range map[string]string{
				"a session that was never replicated":       "never heard of",
				"a session whose end may have been delayed": "ended",
				"a session that may have been ended since":  "rotated",
			} {
				_, advanced, err := store.Advance(t.Context(), keyOf("alice", id), rotation(1, time.Hour))
				require.ErrorContains(t, err, reason, name)
				require.NotErrorIs(t, err, jwtauth.ErrNoSession, name)
				require.False(t, advanced, name)
			}
			_, err = store.List(t.Context(), testIssuer, "bob", "", 1000)
			require.Error(t, err, "a list that may lack sessions")
			for _, call := range callsOf(store, "carol") {
				switch call.name {
				case "IsRevoked", "Since the start", "Since": // only a replica refuses these
				default:
					require.Error(t, call.do(t.Context()), call.name)
				}
			}
		})
	}
}

// The first answer was lost. The second one comes from a server that may be cut off.
func TestACreateThatIsRepeatedAtAServerThatCannotWriteIsAnError(t *testing.T) {
	server := engines.Redis(t)
	client := clientOf(t, server)
	repeat := &repeater{}
	client.AddHook(repeat)
	store := newStore(t, client)
	repeat.between = func() {
		require.NoError(t, clientOf(t, server).ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	}
	require.ErrorContains(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0), "NOREPLICAS")
}

// repeater sends each EVAL and EVALSHA twice, as the client does if the first answer is
// lost. Only the second answer counts.
type repeater struct {
	counter
	between func()
}

func (r *repeater) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil {
			return err
		}
		r.between()
		return next(ctx, cmd)
	}
}

// The issuer revokes a session that its store does not know. A server that was demoted must
// not make it do so.
func TestARefreshAtADemotedMasterEndsNoSession(t *testing.T) {
	for reason, start := range unwritable {
		t.Run(reason, func(t *testing.T) {
			server, refuse := start(t)
			sessions := newStore(t, impatient(t, server))
			revocations := newStore(t, single(t))
			here := issuerOf(t, sessions, revocations)
			// The login is at another server, and this one has never heard of it.
			elsewhere := newStore(t, single(t))
			there := issuerOf(t, elsewhere, revocations)
			refuse()
			login, err := there.Issue(t.Context(), jwtauth.Grant{Subject: "alice", AuthTime: time.Now()})
			require.NoError(t, err)
			_, err = here.Refresh(t.Context(), jwtauth.RefreshRequest{Token: login.RefreshToken})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			ids, _, _ := told(t, revocations, "")
			require.Empty(t, ids, "something was revoked")
			_, err = there.Refresh(t.Context(), jwtauth.RefreshRequest{Token: login.RefreshToken})
			require.NoError(t, err, "the session has ended")
		})
	}
}

// sharedRing returns the one signing key of all issuers of this file.
var sharedRing = func() *jwk.Ring {
	key, err := jwk.Generate(jwk.ES256)
	if err != nil {
		panic(err)
	}
	ring, err := jwk.NewRing(key)
	if err != nil {
		panic(err)
	}
	return ring
}()

func issuerOf(t *testing.T, sessions, revocations *redisstore.Store) *jwtauth.Issuer {
	t.Helper()
	issuer, err := jwtauth.NewIssuer(sharedRing, jwtauth.IssuerOptions{
		Issuer: testIssuer, Audiences: []string{testIssuer}, Sessions: sessions, Revocations: revocations,
	})
	require.NoError(t, err)
	return issuer
}
