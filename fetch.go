package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// fetch reads the keys from their source.
func (r *RemoteKeySet) fetch(ctx context.Context, old *remoteKeys) (*remoteKeys, []Event, error) {
	at, from := r.o.Now(), r.source
	if r.issuer != "" {
		var err error
		if from, err = r.discover(ctx); err != nil {
			return nil, nil, err
		}
	}
	etag := ""
	if old != nil && old.from == from {
		etag = old.etag
	}
	answer, err := r.get(ctx, from, etag)
	if err != nil {
		return nil, nil, err
	}
	keys := &remoteKeys{at: at, etag: answer.etag, from: from}
	keys.fresh = at.Add(min(max(answer.age, r.o.MinAge), r.o.MaxAge))
	keys.usable = keys.fresh.Add(r.o.MaxStale)
	if answer.unchanged {
		keys.table, keys.etag = old.table, etag
		return keys, nil, nil
	}
	var known *keyTable
	if old != nil {
		known = old.table
	}
	var skipped []Event
	if keys.table, skipped, err = parseKeySet(answer.body, known); err != nil {
		err = fmt.Errorf("jwtauth: the JWK Set of %s: %w", quoted(from), err)
	}
	return keys, skipped, err
}

// discover reads the jwks_uri of the issuer's metadata.
func (r *RemoteKeySet) discover(ctx context.Context) (string, error) {
	u, err := url.Parse(r.issuer)
	if err != nil {
		return "", err
	}
	openID, oauth, err := MetadataPaths(r.issuer)
	if err != nil {
		return "", err
	}
	origin := u.Scheme + "://" + u.Host
	var all []error
	for _, where := range []string{origin + openID, origin + oauth} {
		answer, err := r.get(ctx, where, "")
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
		if err == nil && issuer != r.issuer {
			err = fmt.Errorf("issuer is %s%s", quoted(issuer), differsBy(r.issuer, issuer))
		}
		if err == nil {
			_, err = r.checkURL(keys)
		}
		if err != nil {
			return "", fmt.Errorf("jwtauth: the metadata at %s of the issuer %s: %w", quoted(where), quoted(r.issuer), err)
		}
		return keys, nil
	}
	return "", errors.Join(all...)
}

// answer is a good answer of the source.
type answer struct {
	body      string
	age       time.Duration // for how long it is fresh
	etag      string
	unchanged bool
}

func (r *RemoteKeySet) get(ctx context.Context, from, etag string) (answer, error) {
	a, err := r.tryGet(ctx, from, etag)
	if err == nil {
		return a, nil
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL once more
	}
	if text := err.Error(); len(text) > maxErrorBytes {
		err = errors.New(strings.ToValidUTF8(text[:maxErrorBytes], "") + "…")
	}
	return a, fmt.Errorf("jwtauth: fetching %s: %w", quoted(from), err)
}

func (r *RemoteKeySet) tryGet(ctx context.Context, from, etag string) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", "jwtauth")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.etag, a.age = tagOf(res.Header), freshFor(res.Header)
	if etag != "" && res.StatusCode == http.StatusNotModified {
		a.unchanged = true
		return a, nil
	}
	if res.StatusCode != http.StatusOK {
		return a, fmt.Errorf("the answer is %d, 200 is expected", res.StatusCode)
	}
	mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if mediaType != "application/json" && !(strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")) {
		return a, fmt.Errorf("the answer has the media type %s, JSON is expected", quoted(mediaType))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxKeySetBytes+1))
	if err == nil && len(body) > maxKeySetBytes {
		err = fmt.Errorf("the answer has more than %d bytes", maxKeySetBytes)
	}
	a.body = string(body)
	return a, err
}

// tagOf is the ETag of an answer (RFC 9110, section 8.8.3), "" for none and for one
// that cannot be sent back.
func tagOf(h http.Header) string {
	tag := h.Get("ETag")
	opaque, ok := strings.CutPrefix(strings.TrimPrefix(tag, "W/"), `"`)
	opaque, closed := strings.CutSuffix(opaque, `"`)
	odd := func(c rune) bool { return c <= ' ' || c == '"' || c == 0x7f }
	if !ok || !closed || len(tag) > maxTagBytes || strings.ContainsFunc(opaque, odd) {
		return ""
	}
	return tag
}

// freshFor is how long an answer is fresh (RFC 9111, section 4.2): its max-age
// less its Age, nothing where it is not to be stored. A max-age that is no number
// counts as 0, one that is too large as the largest.
func freshFor(h http.Header) time.Duration {
	fresh := defaultKeysAge
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

// checkURL says whether something may be fetched from a URL.
func (r *RemoteKeySet) checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is no URL", quoted(text))
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || u.Opaque != "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%s is not the URL of a key set: https, a host and a path are expected, without user or fragment", quoted(text))
	case u.Scheme == "https", u.Scheme == "http" && r.o.InsecureLoopbackHTTP && isLoopback(u.Hostname()):
		return u, nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%s is not https; InsecureLoopbackHTTP takes it", quoted(text))
	}
	return nil, fmt.Errorf("%s is not https", quoted(text))
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (r *RemoteKeySet) checkRedirect(req *http.Request, via []*http.Request) error {
	if from := via[0].URL; req.URL.Scheme != from.Scheme || req.URL.Host != from.Host || len(via) > maxRedirects {
		return fmt.Errorf("a redirect to %s, or too many of them: at most %d within one origin are followed", quoted(req.URL.Scheme+"://"+req.URL.Host), maxRedirects)
	}
	return nil
}
