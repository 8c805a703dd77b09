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
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
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

// fetcher fetches a JWK Set. It is immutable and safe for concurrent use.
type fetcher struct {
	source       string // the URL of the JWK Set, or of the issuer if issuer is set
	issuer       string // the issuer whose metadata has the URL of the JWK Set, or ""
	loopbackHTTP bool   // http is allowed for loopback addresses
	client       *http.Client
}

// newFetcher makes a fetcher. If custom is nil, it uses the default client.
func newFetcher(source, issuer string, custom *http.Client, loopbackHTTP bool) (*fetcher, error) {
	f := &fetcher{source: source, issuer: issuer, loopbackHTTP: loopbackHTTP}
	if err := f.checkURL(source); err != nil {
		return nil, err
	}
	f.client = &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  5 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableKeepAlives:      true, // leave no goroutines of idle connections
		ForceAttemptHTTP2:      true,
	}}
	if custom != nil {
		*f.client = *custom
	}
	f.client.Jar = nil
	f.client.CheckRedirect = checkRedirect
	return f, nil
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

// discover fetches the metadata of the issuer and returns jwks_uri.
func (f *fetcher) discover(ctx context.Context) (string, error) {
	u, err := url.Parse(f.issuer)
	if err != nil {
		return "", err
	}
	openID, oauth, err := wellknown.Paths(f.issuer)
	if err != nil {
		return "", fmt.Errorf("jwk: %w", err)
	}
	origin := u.Scheme + "://" + u.Host
	var all []error
	for _, address := range []string{origin + openID, origin + oauth} {
		answer, err := f.get(ctx, address, "")
		if err != nil {
			all = append(all, err)
			continue
		}
		var issuer, keys string
		err = strictjson.Object(answer.body, func(name string, v strictjson.Value) error {
			switch name {
			case "issuer":
				issuer, _ = v.Str()
			case "jwks_uri":
				keys, _ = v.Str()
			}
			return nil
		})
		if err == nil && issuer != f.issuer {
			err = fmt.Errorf("issuer is %s%s", errtext.Quote(issuer), errtext.IssuerDifference(f.issuer, issuer))
		}
		if err == nil {
			err = f.checkURL(keys)
		}
		if err != nil {
			return "", fmt.Errorf("jwk: the metadata at %s of the issuer %s: %w", errtext.Quote(address), errtext.Quote(f.issuer), err)
		}
		return keys, nil
	}
	return "", errors.Join(all...)
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
	return a, fmt.Errorf("jwk: fetching %s: %w", errtext.Quote(from), err)
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
		return a, fmt.Errorf("the answer is %d, 200 is expected", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSetBytes+1))
	if err == nil && len(body) > maxSetBytes {
		err = fmt.Errorf("the answer has more than %d bytes", maxSetBytes)
	}
	a.body = string(body)
	// Static hosts serve JWK Sets with any media type, so a JSON object is enough.
	mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	isJSON := mediaType == "application/json" || strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")
	if err == nil && !isJSON && !strings.HasPrefix(strings.TrimLeft(a.body, " \t\r\n"), "{") {
		err = fmt.Errorf("the answer has the media type %s, JSON is expected", errtext.Quote(mediaType))
	}
	return a, err
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

// checkURL returns an error if text is not a URL that the fetcher may fetch from.
func (f *fetcher) checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("%s is not a URL", errtext.Quote(text))
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || u.Opaque != "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%s is not the URL of a key set: https, a host and a path are expected, without user or fragment", errtext.Quote(text))
	case u.Scheme == "https", u.Scheme == "http" && f.loopbackHTTP && wellknown.IsLoopback(u.Hostname()):
		return nil
	case u.Scheme == "http" && wellknown.IsLoopback(u.Hostname()):
		return fmt.Errorf("%s is not https; InsecureLoopbackHTTP allows it", errtext.Quote(text))
	}
	return fmt.Errorf("%s is not https", errtext.Quote(text))
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if from := via[0].URL; req.URL.Scheme != from.Scheme || req.URL.Host != from.Host || len(via) > maxRedirects {
		return fmt.Errorf("a redirect to %s, or too many of them: at most %d within one origin are followed", errtext.Quote(req.URL.Scheme+"://"+req.URL.Host), maxRedirects)
	}
	return nil
}
