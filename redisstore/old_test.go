package redisstore_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// oldStore does what the Store of an earlier version of this package did with sessions. Its
// scripts are in testdata/old.
type oldStore struct {
	t                     testing.TB
	client                redis.UniversalClient
	prefix                string
	create, advance, list *redis.Script
}

func oldStoreOf(t testing.TB, client redis.UniversalClient, prefix string) *oldStore {
	t.Helper()
	script := func(name string) *redis.Script {
		text := ""
		for _, n := range []string{"lib", name} {
			part, err := os.ReadFile("testdata/old/" + n + ".lua")
			require.NoError(t, err)
			text += string(part)
		}
		return redis.NewScript(text)
	}
	return &oldStore{t, client, prefix, script("create"), script("advance"), script("list")}
}

func (o *oldStore) owner(subject string) string { return ownerKey(o.prefix, subject) }

// ownerKey returns the name of the key with the rows of a subject.
func ownerKey(prefix, subject string) string {
	text := binary.BigEndian.AppendUint32(nil, uint32(len(testIssuer)))
	text = append(text, testIssuer+subject...)
	sum := sha256.Sum256(text)
	return prefix + ":s{" + base64.RawURLEncoding.EncodeToString(sum[:18]) + "}"
}

func oldNumber(n int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(n)^1<<63))
}

func oldMargin(now, until time.Time) int64 { return (until.Sub(now) + 5*time.Minute).Milliseconds() }

// Create adds a row, without the fields that the old version did not have.
func (o *oldStore) Create(r jwtauth.SessionRecord) {
	o.t.Helper()
	numbers := oldNumber(r.Generation) + oldNumber(r.Previous) + oldNumber(r.RotatedAt.UnixMicro()) + oldNumber(r.ExpiresAt.UnixMicro())
	created, err := o.create.Run(context.Background(), o.client, []string{o.owner(r.Key.Subject)},
		r.Key.ID, numbers, rand.Text()[:8], string(r.Data), oldMargin(r.RotatedAt, r.ExpiresAt)).Bool()
	require.NoError(o.t, err)
	require.True(o.t, created)
}

func (o *oldStore) Advance(k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool) {
	o.t.Helper()
	reply, err := o.advance.Run(context.Background(), o.client, []string{o.owner(k.Subject)}, k.ID, oldNumber(r.From),
		oldNumber(r.From+1), oldNumber(r.At.UnixMicro()), oldNumber(r.ExpiresAt.UnixMicro()), oldMargin(r.At, r.ExpiresAt)).Slice()
	require.NoError(o.t, err)
	require.Len(o.t, reply, 2)
	return oldRecord(o.t, k, reply[1].(string)), reply[0] == int64(1)
}

func (o *oldStore) Delete(k jwtauth.SessionKey) {
	o.t.Helper()
	require.NoError(o.t, o.client.HDel(context.Background(), o.owner(k.Subject), k.ID).Err())
}

func (o *oldStore) List(subject string) map[string]jwtauth.SessionRecord {
	o.t.Helper()
	pairs, err := o.list.Run(context.Background(), o.client, []string{o.owner(subject)}).StringSlice()
	require.NoError(o.t, err)
	rows := map[string]jwtauth.SessionRecord{}
	for i := 0; i+1 < len(pairs); i += 2 {
		rows[pairs[i]] = oldRecord(o.t, keyOf(subject, pairs[i]), pairs[i+1])
	}
	return rows
}

// oldRecord decodes a row as the old version did.
func oldRecord(t testing.TB, k jwtauth.SessionKey, row string) jwtauth.SessionRecord {
	t.Helper()
	require.GreaterOrEqual(t, len(row), 55)
	number := func(at int) int64 { return int64(binary.BigEndian.Uint64([]byte(row[at:at+8])) ^ 1<<63) }
	r := jwtauth.SessionRecord{
		Key: k, Generation: number(0), Previous: number(8),
		RotatedAt: time.UnixMicro(number(16)).UTC(), ExpiresAt: time.UnixMicro(number(24)).UTC(),
	}
	if len(row) > 55 {
		r.Data = []byte(row[55:])
	}
	return r
}

// inOldForm returns a row without the fields that the old version did not have.
func inOldForm(r jwtauth.SessionRecord) jwtauth.SessionRecord {
	r.Parent, r.ParentStep, r.Epoch, r.Details, r.Age = 0, 0, 0, nil, 0
	return r
}

func TestAnOldAndANewProcessRefreshTheSameSession(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		prefix := "test:" + rand.Text()
		store, old := storeOf(t, client, prefix), oldStoreOf(t, client, prefix)
		login := row("alice", "1", time.Hour)
		var want jwtauth.SessionRecord // what the new version must see
		agree := func() {
			t.Helper()
			want.Age = 0
			rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
			require.NoError(t, err)
			require.Equal(t, []jwtauth.SessionRecord{want}, rows)
			require.Equal(t, map[string]jwtauth.SessionRecord{"1": inOldForm(want)}, old.List("alice"))
			peeked, advanced, err := store.Advance(t.Context(), login.Key, jwtauth.Rotation{At: time.Now()})
			require.NoError(t, err)
			require.False(t, advanced)
			peeked.Age = 0
			require.Equal(t, want, peeked)
		}
		newStep := func(r jwtauth.Rotation) {
			t.Helper()
			got, advanced, err := store.Advance(t.Context(), login.Key, r)
			require.NoError(t, err)
			require.True(t, advanced)
			require.WithinDuration(t, time.Now(), got.RotatedAt, time.Minute)
			want, _ = want.Step(r, got.RotatedAt)
			require.Equal(t, want, got)
			agree()
		}
		oldStep := func(from int64) {
			t.Helper()
			r := rotation(from, time.Hour)
			got, advanced := old.Advance(login.Key, r)
			require.True(t, advanced)
			parent, step, epoch, details := want.Parent, want.ParentStep, want.Epoch, want.Details
			want = got
			want.Parent, want.ParentStep, want.Epoch, want.Details = parent, step, epoch, details
			_, advanced = old.Advance(login.Key, r)
			require.False(t, advanced)
		}

		old.Create(login)
		want = login
		agree()
		newStep(rotation(1, time.Hour))
		require.Len(t, keysOf(t, client, prefix), 1, "an extra that is not needed")
		oldStep(2)
		want.Parent, want.ParentStep = 2, 3 // as if the new version had made the step
		agree()

		withParent := rotation(3, time.Hour)
		withParent.Parent, withParent.Epoch, withParent.Details = 2, 5, []byte(`{"device":"phone"}`)
		newStep(withParent)
		oldStep(4)
		require.EqualValues(t, 2, want.Parent)
		require.EqualValues(t, 4, want.ParentStep, "it is not the generation, so nobody believes the parent")
		require.EqualValues(t, 5, want.Generation)
		agree()
		raise := jwtauth.Rotation{Epoch: 6, At: time.Now()}
		_, advanced, err := store.Advance(t.Context(), login.Key, raise)
		require.NoError(t, err)
		require.False(t, advanced)
		want.Epoch = 6
		agree()
		next := rotation(5, time.Hour)
		next.Epoch = 6
		newStep(next)
		for _, from := range []int64{6, 7} { // the old version makes two steps
			oldStep(from)
		}
		agree()

		mark := jwtauth.Rotation{From: 1<<63 - 2, Epoch: 1<<63 - 1, At: time.Now(), ExpiresAt: inAnHour().UTC().Truncate(time.Microsecond)}
		newStep(mark)
		_, advanced = old.Advance(login.Key, rotation(8, time.Hour))
		require.False(t, advanced, "the session has ended")
	})
}

func TestWhatAnOldProcessLeavesIsGarbage(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store, old := storeOf(t, client, prefix), oldStoreOf(t, client, prefix)
	extras := ownerKey(prefix, "alice") + ":x"
	for i := range 100 {
		r := row("alice", fmt.Sprint(i), time.Hour)
		r.Details = []byte(`{}`)
		require.NoError(t, store.Create(t.Context(), r, 0))
		old.Delete(r.Key)
	}
	plain := row("alice", "99", time.Hour)
	require.NoError(t, store.Create(t.Context(), plain, 0))
	rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Equal(t, []jwtauth.SessionRecord{plain}, rows, "the session has the extra of an earlier one")
	for i := range 200 {
		require.NoError(t, store.Create(t.Context(), row("alice", fmt.Sprint("more ", i), time.Hour), 0))
		require.NoError(t, store.Delete(t.Context(), keyOf("alice", fmt.Sprint("more ", i))))
	}
	require.LessOrEqual(t, client.HLen(t.Context(), extras).Val(), int64(1))
	left := row("alice", "left", time.Hour)
	left.Details = []byte(`{}`)
	require.NoError(t, store.Create(t.Context(), left, 0))
	old.Delete(left.Key)
	require.NoError(t, store.Delete(t.Context(), plain.Key))
	require.Empty(t, keysOf(t, client, prefix))
}
