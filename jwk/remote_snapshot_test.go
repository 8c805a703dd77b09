package jwk_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestASnapshotServesALaterProcessWhileTheSourceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := fixture.NewRemote(t)
		token := first.Sign(first.Claims(map[string]any{"exp": first.Clock.Now().Unix() + 7200}))
		first.RequireAccepted(token)
		seed := first.Set.Snapshot()
		require.NotContains(t, string(seed), `"d"`)
		state := first.Set.Status()

		r := fixture.NewRemote(t)
		r.Source.Serve(fixture.Hung)
		plant := func(seed []byte) *jwk.Remote {
			set := r.NewSet(func(o *jwk.RemoteOptions) { o.Seed = seed })
			r.VerifyWith(set, jwtauth.VerifierOptions{})
			return set
		}
		began := time.Now()
		set := plant(seed)
		require.Equal(t, state.UsableTo.Unix(), set.Status().UsableTo.Unix())
		require.Equal(t, state.FetchedAt.Unix(), set.Status().FetchedAt.Unix())
		require.JSONEq(t, string(seed), string(set.Snapshot()))
		r.RequireAccepted(token)
		require.Zero(t, time.Since(began))
		synctest.Wait()
		require.Equal(t, 1, r.Source.Asked(), "the keys of a seed are due")
		require.Empty(t, r.Source.Last().Header.Get("If-None-Match"))
		time.Sleep(time.Minute)

		// They are used for as long as they would have been used there.
		r.Source.Serve(fixture.Status(500))
		r.Clock.Advance(state.UsableTo.Sub(r.Clock.Now()) - time.Second)
		r.RequireAccepted(token)
		r.Clock.Advance(time.Second)
		r.RequireUnavailable(token)
		plant(seed)
		r.RequireUnavailable(token)

		// Where the source has the same keys, nothing changes.
		r.KeyEvents()
		r.Source.Serve(fixture.Document(fixture.JWKS(t, first.Key)))
		r.Clock.Advance(time.Minute)
		r.RequireAccepted(token)
		require.Empty(t, r.KeyEvents())
	})
}

func TestASeedThatIsNotOfThisSourceIsAnError(t *testing.T) {
	r := fixture.NewRemote(t)
	require.NoError(t, r.Set.Ready(t.Context()))
	seed := string(r.Set.Snapshot())
	now := r.Clock.Now().Unix()
	fetched, fresh := fmt.Sprintf(`"fetched_at":%d`, now), fmt.Sprintf(`"fresh_to":%d`, now+300)
	require.Contains(t, seed, fetched)
	require.Contains(t, seed, fresh)
	plant := func(url, seed string, change ...func(*jwk.RemoteOptions)) error {
		o := jwk.RemoteOptions{Seed: []byte(seed), Now: r.Clock.Now}
		for _, c := range change {
			c(&o)
		}
		_, err := jwk.NewRemote(url, o)
		return err
	}
	require.NoError(t, plant(fixture.JWKSURL, seed))
	require.ErrorContains(t, plant(fixture.JWKSURL+"?", seed), "it is of ")
	require.ErrorContains(t, plant("https://other.test/jwks", seed), "it is of ")
	_, err := jwk.Discover("https://keys.issuer.test", jwk.RemoteOptions{Seed: []byte(seed)})
	require.ErrorContains(t, err, "it is of ")
	ahead := func(at, to int64) string {
		return strings.NewReplacer(fetched, fmt.Sprintf(`"fetched_at":%d`, at), fresh, fmt.Sprintf(`"fresh_to":%d`, to)).Replace(seed)
	}
	const day = 24 * 3600
	require.NoError(t, plant(fixture.JWKSURL, ahead(now, now+day)))
	require.NoError(t, plant(fixture.JWKSURL, ahead(now-10*day, now-9*day)))
	for _, dates := range [][2]int64{{now + 61, now + 300}, {now, now - 1}, {now, -1 << 63}, {now, now + day + 2}, {now - 10*day, now + 300}, {0, 1 << 62}, {-1 << 63, 1<<63 - 1}, {1<<63 - 1, 1<<63 - 1}, {now, 1<<63 - 1}} {
		require.ErrorContains(t, plant(fixture.JWKSURL, ahead(dates[0], dates[1])), "dates", "%d", dates)
	}
	require.ErrorContains(t, plant(fixture.JWKSURL, seed, func(o *jwk.RemoteOptions) { o.MinAge, o.MaxAge = time.Second, 298*time.Second }), "dates")
	for _, bad := range []string{"", "x", "{}", "[]", seed + "x", strings.Replace(seed, `"keys"`, `"kays"`, 1), strings.Replace(seed, `"EC"`, `"oct"`, 1), strings.Replace(seed, `"x"`, `"d"`, 1)} {
		require.ErrorContains(t, plant(fixture.JWKSURL, bad), "Seed", bad)
	}
}

// snapshotKeys returns the keys of a snapshot. It fails the test unless all of them are
// public, can be used, and differ in kid or algorithm.
func snapshotKeys(t *testing.T, snapshot []byte) string {
	var s struct {
		Set struct{ Keys []json.RawMessage } `json:"jwks"`
	}
	if err := json.Unmarshal(snapshot, &s); err != nil {
		t.Fatalf("%s: %v", snapshot, err)
	}
	seen := make(map[string]bool)
	for _, text := range s.Set.Keys {
		k, err := jwk.ParseVerification("", text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		samePublic(t, k)
		if name := string(k.Algorithm()) + " " + k.ID(); seen[name] || strings.HasPrefix(name, "HS") {
			t.Fatalf("%s: twice, or symmetric", text)
		} else {
			seen[name] = true
		}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			if members[private] != nil {
				t.Fatalf("%s: the private member %s", text, private)
			}
		}
	}
	texts, err := json.Marshal(s.Set.Keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(texts)
}
