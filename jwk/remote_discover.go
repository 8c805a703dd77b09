package jwk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/internal/wellknown"
)

// checkDiscoverable returns an error if the metadata of an issuer cannot be found by its URL.
func checkDiscoverable(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil // a better error follows
	}
	if u.RawQuery != "" {
		return fmt.Errorf("the issuer %s has a query, so it has no metadata (RFC 8414, section 2); set RemoteOptions.MetadataURL, or use NewRemote with the URL of the keys", errtext.URL(issuer))
	}
	if strings.Contains(u.Path, "/.well-known/") {
		return fmt.Errorf("%s is not the name of an issuer: use the value of issuer in that document, and set RemoteOptions.MetadataURL if the document is not below it; for a JWK Set, use NewRemote", errtext.URL(issuer))
	}
	return nil
}

// metadataAddresses returns the addresses at which the metadata of an issuer may be.
func metadataAddresses(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	openID, oauth, err := wellknown.Paths(issuer)
	if err != nil {
		return nil, err
	}
	origin := u.Scheme + "://" + u.Host
	return []string{origin + openID, origin + oauth}, nil
}

// discover fetches the metadata of the issuer and returns jwks_uri.
func (f *fetcher) discover(ctx context.Context) (string, error) {
	addresses := []string{f.address}
	if !f.hasMetadataURL {
		var err error
		if addresses, err = metadataAddresses(f.issuer); err != nil {
			return "", fmt.Errorf("jwk: %w", err)
		}
	}
	var all []error
	areMissing := true // each answer says that there are no metadata at its address
	for _, address := range addresses {
		answer, err := f.get(ctx, address, "")
		if err == nil {
			var keys string
			if keys, err = f.keysURL(address, answer.body); err != nil {
				err = fmt.Errorf("jwk: the metadata at %s %w", errtext.URL(address), err)
			}
			return keys, err
		}
		status, hasStatus := errors.AsType[*statusError](err)
		if hasStatus && status.retryAfter > 0 {
			return "", err
		}
		all = append(all, err)
		areMissing = areMissing && (errors.Is(err, errHTML) || hasStatus && (status.status == http.StatusNotFound || status.status == http.StatusGone))
	}
	if areMissing {
		next := "set RemoteOptions.MetadataURL if they are at another address, or use NewRemote with the URL of the keys"
		if f.hasMetadataURL {
			next = "set RemoteOptions.MetadataURL to their address, or use NewRemote with the URL of the keys"
		}
		return "", fmt.Errorf("jwk: no metadata of the issuer %s: %s: %w", errtext.URL(f.issuer), next, errors.Join(all...))
	}
	return "", errors.Join(all...)
}

// keysURL returns the jwks_uri in the metadata that came from an address. The text of an error
// continues a sentence about the metadata.
func (f *fetcher) keysURL(address, metadata string) (string, error) {
	var issuer, keys string
	isKeySet := false
	err := strictjson.Object(metadata, func(name string, v strictjson.Value) error {
		switch name {
		case "issuer":
			issuer, _ = v.Str()
		case "jwks_uri":
			keys, _ = v.Str()
		case "keys":
			isKeySet = true
		}
		return nil
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("of the issuer %s cannot be read: %w", errtext.URL(f.issuer), err)
	case issuer == "" && isKeySet:
		return "", errors.New("are a JWK Set: use NewRemote with this URL")
	case issuer != f.issuer:
		return "", f.wrongIssuer(address, issuer)
	case keys == "":
		return "", fmt.Errorf("of the issuer %s name no jwks_uri: use NewRemote with the URL of the keys", errtext.URL(f.issuer))
	}
	if err := f.checkKeysURL(address, keys); err != nil {
		return "", fmt.Errorf("of the issuer %s name a jwks_uri that cannot be used: %w", errtext.URL(f.issuer), err)
	}
	return keys, nil
}

// wrongIssuer returns the error about metadata that name another issuer, and the next step.
func (f *fetcher) wrongIssuer(address, said string) error {
	if said == "" {
		return fmt.Errorf("name no issuer, %s is expected", errtext.URL(f.issuer))
	}
	next := ""
	switch own, err := metadataAddresses(said); {
	case strings.ContainsAny(said, "{}"):
		next = ": this is a template, and each tenant has an issuer of its own; use ResolveIssuers, with keys of NewRemote"
	case bound.CheckIssuer(said) != nil: // nothing to use
	case f.hasMetadataURL || err == nil && (own[0] == address || own[1] == address):
		next = ": use that as the issuer, if it is the iss of the tokens"
	default:
		next = ": use that as the issuer, if it is the iss of the tokens, and set RemoteOptions.MetadataURL to the address of the metadata"
	}
	return fmt.Errorf("name the issuer %s, not %s%s%s", errtext.URL(said), errtext.URL(f.issuer), errtext.IssuerDifference(f.issuer, said), next)
}

// checkKeysURL returns an error if the fetcher may not fetch from a jwks_uri. Only metadata
// that came over http may name an http URL: one of the same origin or, with
// InsecureLoopbackHTTP, one of a loopback address.
func (f *fetcher) checkKeysURL(address, keys string) error {
	u, err := parseAddress(keys)
	if err != nil || u.Scheme == "https" {
		return err
	}
	from, err := url.Parse(address)
	if err != nil {
		return err
	}
	if from.Scheme == "http" && (from.Host == u.Host || f.loopbackHTTP && wellknown.IsLoopback(u.Hostname())) {
		return nil
	}
	return fmt.Errorf("%s is not https", errtext.URL(keys))
}
