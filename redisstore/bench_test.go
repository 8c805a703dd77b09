package redisstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// full is a store with fullSize sessions and as many revocations, which is filled once.
var full struct {
	sync.Mutex
	store  *redisstore.Store
	client *redis.Client
}

const fullSize = 1_000_000

// fullServer is the server of full.
var fullServer = engines.Shared(engines.NewRedis)

func fullStore(b *testing.B) (*redisstore.Store, *redis.Client) {
	b.Helper()
	o := optionsOf(fullServer(b))
	full.Lock()
	defer full.Unlock()
	if full.store != nil {
		return full.store, full.client
	}
	o.PoolSize = 64
	var err error
	full.client = redis.NewClient(o)
	full.store, err = redisstore.New(full.client, redisstore.Options{})
	require.NoError(b, err)
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			for i := worker; i < fullSize; i += 64 {
				if full.store.Create(context.Background(), row(fmt.Sprint(i), "1", time.Hour), 0) != nil || full.store.Revoke(context.Background(), tokenID(i), inAnHour()) != nil {
					b.Error("the store cannot be filled")
					return
				}
			}
		})
	}
	all.Wait()
	return full.store, full.client
}

func tokenID(i int) string { return jwtauth.TokenID(testIssuer, fmt.Sprint(i)) }

func BenchmarkPing(b *testing.B) {
	_, client := fullStore(b)
	for b.Loop() {
		require.NoError(b, client.Ping(b.Context()).Err())
	}
}

func BenchmarkAdvance(b *testing.B) {
	store, _ := fullStore(b)
	key := keyOf("advance", "1")
	_ = store.Delete(b.Context(), key)
	require.NoError(b, store.Create(b.Context(), row("advance", "1", time.Hour), 0))
	for from := int64(1); b.Loop(); from++ {
		_, advanced, err := store.Advance(b.Context(), key, rotation(from, time.Hour))
		if err != nil || !advanced {
			b.Fatal(advanced, err)
		}
	}
}

func BenchmarkIsRevoked(b *testing.B) {
	store, _ := fullStore(b)
	for i := 0; b.Loop(); i++ {
		revoked, err := store.IsRevoked(b.Context(), tokenID(-1), tokenID(i%fullSize))
		if err != nil || !revoked {
			b.Fatal(revoked, err)
		}
	}
}

func BenchmarkRevoke(b *testing.B) {
	store, _ := fullStore(b)
	for i := 0; b.Loop(); i++ {
		require.NoError(b, store.Revoke(b.Context(), fmt.Sprint(b.N, "-", i), inAnHour()))
	}
}

func BenchmarkSinceWhereNothingIsNew(b *testing.B) {
	store, _ := fullStore(b)
	_, cursor, _ := told(b, store, "")
	for b.Loop() {
		_, reset, err := store.Since(b.Context(), cursor, func(string, time.Time) { b.Fatal("there is something") })
		if err != nil || reset {
			b.Fatal(reset, err)
		}
	}
}

func BenchmarkSinceTheStart(b *testing.B) {
	store, _ := fullStore(b)
	n := 0
	for b.Loop() {
		_, _, err := store.Since(b.Context(), "", func(string, time.Time) { n++ })
		require.NoError(b, err)
	}
	require.GreaterOrEqual(b, n, fullSize)
	b.ReportMetric(float64(n)/float64(b.N), "entries/op")
}
