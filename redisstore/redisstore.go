package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/jwtauth-go/jwtauth"
)

// Store is a [jwtauth.SessionStore], a [jwtauth.RevocationStore] and a
// [jwtauth.RevocationLog] with push. It is safe for concurrent use, starts no
// goroutine of its own, and does not close the client.
type Store struct {
	client redis.UniversalClient
	now    func() time.Time

	sessions    string   // what the keys of sessions begin with
	revocations []string // the keys of the entries by end, the log of them, and the epoch
	changed     string   // the channel that tells of new ones
}

var (
	_ jwtauth.SessionStore      = (*Store)(nil)
	_ jwtauth.RevocationLog     = (*Store)(nil)
	_ jwtauth.RevocationWatcher = (*Store)(nil)
)

// Options configures a [Store]. Zero fields mean the defaults.
type Options struct {
	// Prefix is what all key names and the channel begin with, "jwtauth" by
	// default: at most 64 letters, digits, dots, hyphens, colons and underscores.
	// Stores that share an engine and a prefix share their entries.
	Prefix string
	// Now is the clock by which revocations end: time.Now.
	Now func() time.Time
}

// margin is for how much longer than its end an entry stays in the engine; the
// scripts know it too.
const margin = 5 * time.Minute

var (
	errNoStore    = errors.New("redisstore: this Store was not made by New")
	errNotUTF8    = errors.New("redisstore: an id, issuer or subject is not valid UTF-8")
	errUnreadable = errors.New("redisstore: what the engine returned is not what was stored")
)

var goodPrefix = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// New makes a Store of a client, which must have ContextTimeoutEnabled; of a client
// that is not one of go-redis' own types, New cannot see it. It sends nothing; see
// [Store.Check].
func New(client redis.UniversalClient, o Options) (*Store, error) {
	kept := true
	switch c := client.(type) {
	case nil:
		return nil, errors.New("redisstore: the client is nil")
	case *redis.Client:
		kept = c != nil && c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		kept = c != nil && c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		return nil, errors.New("redisstore: a Ring goes on without the revocations of a server that fails: use a cluster")
	}
	if !kept {
		return nil, errors.New("redisstore: the client does not keep deadlines: set ContextTimeoutEnabled in its options")
	}
	if o.Prefix == "" {
		o.Prefix = "jwtauth"
	}
	if !goodPrefix.MatchString(o.Prefix) {
		return nil, errors.New("redisstore: a Prefix has at most 64 characters: letters, digits, dots, hyphens, colons and underscores")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	revocations := o.Prefix + ":r{" + o.Prefix + "}:"
	return &Store{
		client:      client,
		now:         o.Now,
		sessions:    o.Prefix + ":s{",
		revocations: []string{revocations + "entries", revocations + "log", revocations + "epoch"},
		changed:     revocations + "changed",
	}, nil
}

// begin is how every call begins: with a store that was made, a context that has
// not ended, and text that is valid.
func (s *Store) begin(ctx context.Context, texts ...string) error {
	if s == nil || s.client == nil {
		return errNoStore
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return errNotUTF8
		}
	}
	return nil
}

// failed is the error of a call that got no good answer.
func failed(ctx context.Context, doing string, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("redisstore: %s: %w: %w", doing, ended, err)
	}
	return fmt.Errorf("redisstore: %s: %w", doing, err)
}

// owner is the key of all sessions of a subject. Nothing that a stranger wrote is
// in it, and its hash tag is the digest.
func (s *Store) owner(issuer, subject string) string {
	text := binary.BigEndian.AppendUint32(nil, uint32(len(issuer)))
	text = append(text, issuer...)
	text = append(text, subject...)
	sum := sha256.Sum256(text)
	return s.sessions + base64.RawURLEncoding.EncodeToString(sum[:18]) + "}"
}

// life is for how many milliseconds from now on the engine keeps what ends at
// until, where it is at now: the engine's own clock does not matter.
func life(at, until time.Time) int64 {
	const most = 100 * 365 * 24 * time.Hour
	return (min(max(until.Sub(at), 0), most) + margin).Milliseconds()
}

// sortable is an integer whose bytes are in the order of the numbers.
func sortable(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)^1<<63)
}

func fromSortable(b string) int64 {
	return int64(binary.BigEndian.Uint64([]byte(b)) ^ 1<<63)
}

// micros is t as it is stored; what does not fit is cut to the nearest that does.
func micros(t time.Time) int64 {
	switch s := t.Unix(); {
	case s > math.MaxInt64/1_000_000-1:
		return math.MaxInt64
	case s < math.MinInt64/1_000_000+1:
		return math.MinInt64
	default:
		return t.UnixMicro()
	}
}

func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }
