package jwk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/wellknown"
)

// The bounds of one fetch.
const (
	maxSetBytes    = 1 << 20
	maxRedirects   = 3
	maxHeaderBytes = 64 << 10
	maxTagBytes    = 256
	maxErrorBytes  = 512 // for the text of an error of net/http

	// defaultFresh is how long keys are fresh if the answer has no max-age.
	defaultFresh = 15 * time.Minute
)

// fetcher fetches a JWK Set. After init, it is immutable and safe for concurrent use.
type fetcher struct {
	source         string // the URL of the JWK Set, or the issuer if issuer is set
	issuer         string // the issuer whose metadata have the URL of the JWK Set, or ""
	address        string // the URL of the program: of the JWK Set, of the issuer, or of the metadata
	hasMetadataURL bool   // address is that of the metadata
	loopbackHTTP   bool   // http is allowed for loopback addresses
	insecureHTTP   bool   // http is allowed for address
	client         *http.Client
	now            func() time.Time
}

// init makes the client of f and checks its address.
func (f *fetcher) init(o *RemoteOptions) error {
	f.loopbackHTTP, f.insecureHTTP, f.now = o.InsecureLoopbackHTTP, o.InsecureHTTP, o.Now
	if err := f.checkAddress(); err != nil {
		return err
	}
	dialer, proxy := &net.Dialer{Timeout: 5 * time.Second}, http.ProxyFromEnvironment
	if o.PublicOnly { // a proxy would connect to the address in its place
		dialer.Control, proxy = refuseUnlessPublic, nil
	}
	f.client = &http.Client{Transport: &http.Transport{
		Proxy:                  proxy,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  5 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableKeepAlives:      true, // leave no goroutines of idle connections
		ForceAttemptHTTP2:      true,
	}}
	if o.Client != nil {
		*f.client = *o.Client
	}
	f.client.Jar = nil
	f.client.CheckRedirect = f.checkRedirect
	return nil
}

// fetchAnswer is a response with a JWK Set or metadata, or a response 304.
type fetchAnswer struct {
	body      string        // empty if unchanged is set
	url       string        // the URL of the request
	freshFor  time.Duration // how long the answer is fresh
	etag      string
	unchanged bool // the response was 304
}

// fetch fetches the JWK Set. before is the previous answer, whose ETag it sends.
func (f *fetcher) fetch(ctx context.Context, before fetchAnswer) (fetchAnswer, error) {
	from := f.source
	if f.issuer != "" {
		var err error
		if from, err = f.discover(ctx); err != nil {
			return fetchAnswer{}, err
		}
	}
	etag := ""
	if before.url == from {
		etag = before.etag
	}
	return f.get(ctx, from, etag)
}

func (f *fetcher) get(ctx context.Context, from, etag string) (fetchAnswer, error) {
	a, err := f.tryGet(ctx, from, etag)
	if err == nil {
		return a, nil
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL, which is added below
	}
	if text := err.Error(); len(text) > maxErrorBytes {
		err = errors.New(strings.ToValidUTF8(text[:maxErrorBytes], "") + "…")
	}
	return a, fmt.Errorf("jwk: fetching %s: %w", errtext.URL(from), err)
}

func (f *fetcher) tryGet(ctx context.Context, from, etag string) (a fetchAnswer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", "jwtauth")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := f.client.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.url, a.etag, a.freshFor = from, entityTag(res.Header), freshFor(res.Header)
	if etag != "" && res.StatusCode == http.StatusNotModified {
		a.unchanged, a.etag = true, etag
		return a, nil
	}
	if res.StatusCode != http.StatusOK {
		return a, &statusError{res.StatusCode, retryAfter(res, f.now())}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSetBytes+1))
	if err == nil && len(body) > maxSetBytes {
		err = fmt.Errorf("the answer has more than %d bytes", maxSetBytes)
	}
	a.body = string(body)
	if err != nil {
		return a, err
	}
	// Static hosts serve JWK Sets with any media type, so a JSON object is enough.
	mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	isJSON := mediaType == "application/json" || strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")
	switch text := strings.TrimLeft(a.body, " \t\r\n"); {
	case strings.HasPrefix(text, "<"):
		return a, errHTML
	case !isJSON && !strings.HasPrefix(text, "{"):
		return a, fmt.Errorf("the answer has the media type %s, JSON is expected", errtext.Quote(mediaType))
	}
	return a, nil
}

var errHTML = errors.New("the answer is a page in HTML or XML, JSON is expected; the address may be wrong, or behind a login")

// statusError is an answer whose status is neither 200 nor an expected 304.
type statusError struct {
	status     int
	retryAfter time.Duration // how long the source asks to wait; 0 if it does not
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the answer is %d, 200 is expected", e.status)
	switch {
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		text += "; if the source needs a credential, set RemoteOptions.Client to a client that sends it"
	case e.retryAfter > 0:
		text += "; the source asks to wait for " + e.retryAfter.String()
	}
	return text
}

// maxRetryAfter bounds the time in Retry-After. Without this bound, a source could keep new
// keys away for as long as it likes.
const maxRetryAfter = 5 * time.Minute

// retryAfter returns how long an answer 429 or 503 asks to wait (RFC 9110, section 10.2.3), at
// most maxRetryAfter. It returns 0 if there is no such time, or if the time has passed.
func retryAfter(res *http.Response, now time.Time) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	text := res.Header.Get("Retry-After")
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	seconds, _ := strconv.ParseUint(text, 10, 31) // if the number is too large, ParseUint returns the largest one
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

// entityTag returns the ETag of an answer (RFC 9110, section 8.8.3). It returns "" if there
// is no ETag, or if the ETag is malformed or too long.
func entityTag(h http.Header) string {
	tag := h.Get("ETag")
	opaque, ok := strings.CutPrefix(strings.TrimPrefix(tag, "W/"), `"`)
	opaque, closed := strings.CutSuffix(opaque, `"`)
	isOdd := func(c rune) bool { return c <= ' ' || c == '"' || c == 0x7f }
	if !ok || !closed || len(tag) > maxTagBytes || strings.ContainsFunc(opaque, isOdd) {
		return ""
	}
	return tag
}

// freshFor returns how long an answer is fresh (RFC 9111, section 4.2). This is its
// max-age minus its Age, or defaultFresh if there is no max-age. It is zero if
// Cache-Control has no-store or no-cache, or if max-age is not a number. A max-age that is
// too large is cut to 2^31-1 seconds.
func freshFor(h http.Header) time.Duration {
	fresh := defaultFresh
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			age, _ := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			passed, _ := strconv.ParseUint(h.Get("Age"), 10, 31)
			fresh = time.Duration(age-min(passed, age)) * time.Second
		}
	}
	return fresh
}

// checkAddress returns an error if the fetcher may not fetch from f.address.
func (f *fetcher) checkAddress() error {
	u, err := parseAddress(f.address)
	switch {
	case err != nil:
		return err
	case u.Scheme == "https", f.insecureHTTP, f.loopbackHTTP && wellknown.IsLoopback(u.Hostname()):
		return nil
	case wellknown.IsLoopback(u.Hostname()):
		return fmt.Errorf("%s is not https; InsecureLoopbackHTTP allows it", errtext.URL(f.address))
	}
	return fmt.Errorf("%s is not https; use https, since whoever can change the traffic could put in keys (InsecureHTTP allows http)", errtext.URL(f.address))
}

// parseAddress parses a URL with the scheme https or http, a host, and no user or fragment.
func parseAddress(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is not a URL", errtext.URL(text))
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || u.Opaque != "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%s is not the URL of a key set: https, a host and a path are expected, without user or fragment", errtext.URL(text))
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%s is not https", errtext.URL(text))
	}
	return u, nil
}

// checkRedirect allows a few redirects within one origin. A redirect to http is only allowed
// for a loopback address: InsecureHTTP is for the URL of the program alone.
func (f *fetcher) checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	if to.Scheme != from.Scheme || to.Host != from.Host || len(via) > maxRedirects {
		return fmt.Errorf("a redirect to %s, or too many of them: at most %d within one origin are followed", errtext.Quote(to.Scheme+"://"+to.Host), maxRedirects)
	}
	if to.Scheme == "http" && !(f.loopbackHTTP && wellknown.IsLoopback(to.Hostname())) {
		return errors.New("a redirect over http, which is not followed; use the URL to which it leads")
	}
	return nil
}
