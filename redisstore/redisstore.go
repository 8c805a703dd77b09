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
	"github.com/jwtauth-go/jwtauth/replica"
)

// Store is a [jwtauth.SessionStore], a [jwtauth.RevocationStore], a [replica.Log] and a
// [replica.Watcher]. It is safe for concurrent use and starts no goroutine. [New] and [FromEnv]
// make one; the methods of the zero value return errors.
type Store struct {
	client redis.UniversalClient
	owned  *redis.Client // the client, if FromEnv made it; else nil
	now    func() time.Time

	sessions    string   // the beginning of each key with sessions
	revocations []string // the keys of the sorted set, the log and the epoch
	changed     string   // the channel on which new revocations are published
}

var (
	_ jwtauth.SessionStore = (*Store)(nil)
	_ replica.Log          = (*Store)(nil)
	_ replica.Watcher      = (*Store)(nil)
)

// Options configures a [Store]. Zero fields mean the defaults.
type Options struct {
	// Prefix is the beginning of all key names and of the channel. Default "jwtauth". At
	// most 64 letters, digits, dots, hyphens, colons and underscores. Stores with the same
	// engine and prefix share their entries.
	Prefix string
	// Now is the clock by which revocations end. Default time.Now.
	Now func() time.Time
}

// margin is how long an entry stays in the engine after its end. lua/lib.lua has the same
// number.
const margin = 5 * time.Minute

var (
	errNoStore    = errors.New("redisstore: this Store was not made by New")
	errNotUTF8    = errors.New("redisstore: an id, issuer or subject is not valid UTF-8")
	errUnreadable = errors.New("redisstore: the engine returned an entry that no Store has written")
)

var goodPrefix = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// New makes a Store that uses a client. The client must have ContextTimeoutEnabled, which
// New checks only for go-redis's own types. New sends nothing to the engine; see
// [Store.Check]. The caller closes the client after the last use of the Store.
func New(client redis.UniversalClient, o Options) (*Store, error) {
	keepsDeadlines := true
	switch c := client.(type) {
	case nil:
		return nil, errors.New("redisstore: the client is nil")
	case *redis.Client:
		keepsDeadlines = c != nil && c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		keepsDeadlines = c != nil && c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		return nil, errors.New("redisstore: a Ring continues without the revocations of a failed server: use a cluster")
	}
	if !keepsDeadlines {
		return nil, errors.New("redisstore: the client ignores deadlines: set ContextTimeoutEnabled in its options")
	}
	if o.Prefix == "" {
		o.Prefix = "jwtauth"
	}
	if !goodPrefix.MatchString(o.Prefix) {
		return nil, errors.New("redisstore: Options.Prefix: at most 64 letters, digits, dots, hyphens, colons and underscores are expected")
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

// begin checks the arguments of a call. It returns an error if New did not make the store,
// the context has ended, or a text is not valid UTF-8.
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

// failed returns the error of a call that failed.
func failed(ctx context.Context, doing string, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("redisstore: %s: %w: %w", doing, ended, err)
	}
	return fmt.Errorf("redisstore: %s: %w", doing, err)
}

// owner returns the key of all sessions of a subject. Its hash tag is a digest, so it
// contains no text from outside.
func (s *Store) owner(issuer, subject string) string {
	text := binary.BigEndian.AppendUint32(nil, uint32(len(issuer)))
	text = append(text, issuer...)
	text = append(text, subject...)
	sum := sha256.Sum256(text)
	return s.sessions + base64.RawURLEncoding.EncodeToString(sum[:18]) + "}"
}

// life returns how many milliseconds the engine keeps an entry whose end is the time until.
// now is the time by the caller's clock, so the engine's own clock does not matter.
func life(now, until time.Time) int64 {
	const longest = 100 * 365 * 24 * time.Hour
	return (min(max(until.Sub(now), 0), longest) + margin).Milliseconds()
}

// sortable encodes a number so that the bytes sort like the numbers.
func sortable(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)^1<<63)
}

// fromSortable is the inverse of sortable.
func fromSortable(b string) int64 {
	return int64(binary.BigEndian.Uint64([]byte(b)) ^ 1<<63)
}

// micros returns t in microseconds since 1970, or the nearest number that fits.
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

// fromMicros is the inverse of micros.
func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }
