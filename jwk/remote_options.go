package jwk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

// RemoteOptions configures a [Remote]. A zero field means its default.
type RemoteOptions struct {
	// Algorithms are the algorithms of a key whose JWK has no alg. The key may be used with
	// each of them that fits its type: RSA with RS256 to RS512 and PS256 to PS512, EC with the
	// algorithm of its curve, Ed25519 with EdDSA. A key that none of them fits is left out.
	// A key whose JWK has alg is used only with that algorithm. Default: RS256 for RSA, the
	// algorithm of the curve for EC, and EdDSA. HMAC algorithms are an error.
	Algorithms []Algorithm
	// MetadataURL is the address of the metadata, for Discover. Set it if the metadata are
	// not below the URL of the issuer. The issuer in the metadata must still be exactly that
	// of Discover, which may then be any name. MetadataURL is an error with NewRemote.
	MetadataURL string

	// Client makes the requests. The default client has time-outs of 5 seconds each for
	// connecting, for TLS and for the response header, and closes its connections after
	// each request. A client of your own should have time-outs for connecting and for TLS,
	// since net/http continues both even after the request has ended. CheckRedirect and Jar
	// of the client are not used. Redirects are followed only within one origin.
	Client *http.Client
	// Timeout bounds a whole fetch. Default 10s. From 1s to 1m.
	Timeout time.Duration
	// MinAge and MaxAge bound how long fetched keys are fresh. Within these bounds, the
	// Cache-Control header of the response decides. Without that header, keys are fresh for
	// 15 minutes. MinAge: default 1m, from 1s to 24h. MaxAge: default 24h, from 1s to 7d.
	// The next fetch is due when 80 percent of the time for which the keys are fresh has
	// passed. Requests use the present keys during that fetch.
	MinAge, MaxAge time.Duration
	// MaxStale is how long keys are still used after they are no longer fresh. Such keys
	// are used while fetches fail. They are also used after a time without tokens, until
	// the next fetch has ended. Default 1h. At most 7d. Negative means not at all. After
	// MaxStale, every token waits for a fetch. If the fetch fails, verifying the token
	// returns ErrUnavailable.
	MaxStale time.Duration
	// Background starts a goroutine that fetches the keys in time even if no token comes.
	// Close ends the goroutine. Without Background, only tokens cause fetches.
	Background bool
	// Seed is a result of [Remote.Snapshot], of this process or another one. Its keys are
	// used until the first fetch is successful, so the program can start while the issuer
	// is down. They are used for at most MaxStale after they stop being fresh. The MaxStale
	// of these options counts.
	Seed []byte

	// PublicOnly refuses to connect to an address that is not a public address of the
	// internet: private, loopback, link-local, shared, multicast, reserved and translated
	// (NAT64, 6to4, IPv4-mapped) addresses. It checks the address of each connection, after
	// the name was resolved, and uses no proxy. Set it if the issuer is chosen by customers.
	// It does not know which public addresses are your own. PublicOnly is an error with a
	// Client, with InsecureHTTP and with InsecureLoopbackHTTP.
	PublicOnly bool
	// InsecureLoopbackHTTP allows http for localhost and loopback addresses, in the URL of
	// this program and, if the metadata came over http, in jwks_uri. It is for tests and
	// development.
	InsecureLoopbackHTTP bool
	// InsecureHTTP allows http for the URL that the program passes to NewRemote or Discover,
	// or sets as MetadataURL. Whoever can change the traffic can then put in keys of his own,
	// and sign every token. If the metadata came over http, jwks_uri may be http, too, but
	// only with the same host and port. No redirect to http is followed. ResolveIssuers
	// refuses a Verifier with such keys.
	InsecureHTTP bool

	// OnEvent gets KeysChanged, KeySkipped and KeysUnavailable, after the change. It runs
	// in a goroutine of its own, one event at a time, with a context that does not end. It
	// may call the Remote. New events are dropped while 256 events wait. If OnEvent panics,
	// that event counts as lost.
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o *RemoteOptions) setDefaults() error {
	for _, d := range []struct {
		name              string
		value             *time.Duration
		byDefault, atMost time.Duration
	}{
		{"Timeout", &o.Timeout, 10 * time.Second, time.Minute},
		{"MinAge", &o.MinAge, time.Minute, 24 * time.Hour},
		{"MaxAge", &o.MaxAge, 24 * time.Hour, maxRemoteAge},
	} {
		if *d.value == 0 {
			*d.value = d.byDefault
		}
		if *d.value < time.Second || *d.value > d.atMost {
			return fmt.Errorf("jwk: RemoteOptions.%s is %v, 1s to %v is expected", d.name, *d.value, d.atMost)
		}
	}
	o.MaxStale = bound.OrDefault(o.MaxStale, time.Hour)
	switch {
	case o.MinAge > o.MaxAge:
		return fmt.Errorf("jwk: RemoteOptions.MinAge is %v, more than MaxAge, %v", o.MinAge, o.MaxAge)
	case o.MaxStale > maxRemoteAge:
		return fmt.Errorf("jwk: RemoteOptions.MaxStale is %v, at most %v is expected", o.MaxStale, maxRemoteAge)
	case o.PublicOnly && o.Client != nil:
		return errors.New("jwk: RemoteOptions has PublicOnly and Client: PublicOnly makes a client of its own; set one of them")
	case o.PublicOnly && (o.InsecureHTTP || o.InsecureLoopbackHTTP):
		return errors.New("jwk: RemoteOptions has PublicOnly and InsecureHTTP or InsecureLoopbackHTTP, which contradict each other")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// maxRemoteAge bounds RemoteOptions.MaxAge and MaxStale.
const maxRemoteAge = 7 * 24 * time.Hour

// impliedAlgorithms returns the algorithms of RemoteOptions.Algorithms, each once.
func impliedAlgorithms(names []Algorithm) ([]*jwa.Algorithm, error) {
	var algorithms []*jwa.Algorithm
	for _, name := range names {
		a, err := name.lookup()
		if err != nil {
			return nil, fmt.Errorf("jwk: RemoteOptions.Algorithms: %w", err)
		}
		if a.Family == jwa.HMAC {
			return nil, fmt.Errorf("jwk: RemoteOptions.Algorithms has %s; a JWK Set has public keys, for RS256 to RS512, PS256 to PS512, ES256, ES384, ES512 and EdDSA", a.Name)
		}
		if !slices.Contains(algorithms, a) {
			algorithms = append(algorithms, a)
		}
	}
	return algorithms, nil
}
