package jwtauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// document is what a handler publishes for everybody: JSON with a strong ETag,
// that scripts of any origin may read.
type document struct {
	mediaType string
	maxAge    time.Duration
	text      []byte
	etag      string
}

func newDocument(mediaType string, maxAge time.Duration, text []byte) *document {
	sum := sha256.Sum256(text)
	return &document{mediaType, maxAge, text, `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}
}

// ServeHTTP answers GET and HEAD, also with 304 (RFC 9110, section 13).
func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Type", d.mediaType)
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(d.maxAge.Seconds())))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", d.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.text))
}

// metadataMaxAge is how long clients may keep the metadata of a resource.
const metadataMaxAge = time.Hour

// IssuerMetadata is what only the program knows of an issuer: where its endpoints
// are mounted. URLs are https (http on loopback addresses); empty ones are left
// out.
type IssuerMetadata struct {
	JWKSURI               string   // where the KeyRing is served; required
	AuthorizationEndpoint string   // of an OpenID provider or authorization server that the program is beside
	TokenEndpoint         string   // where refresh tokens are redeemed
	RevocationEndpoint    string   // RFC 7009
	Scopes                []string // scopes_supported
	GrantTypes            []string // grant_types_supported: refresh_token alone, where there is a TokenEndpoint
	ResponseTypes         []string // response_types_supported; none without an AuthorizationEndpoint
	ServiceDocumentation  string   // a page for people
}

// MetadataHandler serves the metadata of the issuer: of an authorization server
// (RFC 8414) and, with the same members, of an OpenID provider (OpenID Connect
// Discovery 1.0), for verifiers that find the keys by the issuer's name. Mount it
// at both paths of [MetadataPaths]. The signing algorithms follow the keys; but
// clients that read metadata once, as many do, know only those of that time, so a
// new algorithm is best announced, by a key that is accepted and does not sign,
// until they have been started again.
func (i *Issuer) MetadataHandler(m IssuerMetadata) (http.Handler, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	if m.JWKSURI == "" {
		return nil, errors.New("jwtauth: IssuerMetadata.JWKSURI is missing: where the KeyRing is served")
	}
	for name, value := range map[string]string{
		"JWKSURI": m.JWKSURI, "AuthorizationEndpoint": m.AuthorizationEndpoint, "TokenEndpoint": m.TokenEndpoint,
		"RevocationEndpoint": m.RevocationEndpoint, "ServiceDocumentation": m.ServiceDocumentation,
	} {
		if err := checkPublicURL("IssuerMetadata."+name, value); err != nil {
			return nil, err
		}
	}
	h := &metadataHandler{issuer: i, metadata: m}
	if _, err := h.document(); err != nil {
		return nil, err
	}
	return h, nil
}

// metadataHandler serves the metadata of an issuer as its keys are.
type metadataHandler struct {
	issuer   *Issuer
	metadata IssuerMetadata
	made     atomic.Pointer[madeDocument]
}

// madeDocument is a document and the keys that it is about.
type madeDocument struct {
	of *keyTable
	*document
}

func (h *metadataHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, err := h.document()
	if err != nil {
		WriteError(w, r, noAnswer("keys", err))
		return
	}
	d.ServeHTTP(w, r)
}

// document makes the document anew where the keys have changed.
func (h *metadataHandler) document() (*document, error) {
	keys, err := h.issuer.keys.current(h.issuer.o.Now())
	if err != nil {
		return nil, err
	}
	if made := h.made.Load(); made != nil && made.of == keys {
		return made.document, nil
	}
	var algorithms []string
	for _, k := range keys.all {
		if k.public != nil && !slices.Contains(algorithms, k.alg.Name) {
			algorithms = append(algorithms, k.alg.Name)
		}
	}
	if algorithms == nil {
		return nil, errors.New("jwtauth: the issuer has no public keys: what HMAC keys sign, nobody else can verify")
	}
	m := h.metadata
	if m.GrantTypes == nil && m.TokenEndpoint != "" {
		m.GrantTypes = []string{"refresh_token"}
	}
	if m.ResponseTypes == nil {
		m.ResponseTypes = []string{}
	}
	text, err := json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		Authorization string   `json:"authorization_endpoint,omitempty"`
		Token         string   `json:"token_endpoint,omitempty"`
		Revocation    string   `json:"revocation_endpoint,omitempty"`
		Documentation string   `json:"service_documentation,omitempty"`
		Scopes        []string `json:"scopes_supported,omitempty"`
		GrantTypes    []string `json:"grant_types_supported,omitempty"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{
		h.issuer.o.Issuer, m.JWKSURI, m.AuthorizationEndpoint, m.TokenEndpoint, m.RevocationEndpoint, m.ServiceDocumentation,
		m.Scopes, m.GrantTypes, m.ResponseTypes, []string{"public"}, algorithms,
	})
	if err != nil {
		return nil, err
	}
	d := newDocument("application/json", defaultKeySetAge, text)
	h.made.Store(&madeDocument{keys, d})
	return d, nil
}

// MetadataPaths are where verifiers look for the metadata of an issuer: with the
// path of its name in front (OpenID Connect), and inserted (RFC 8414, section 3).
func MetadataPaths(issuer string) (openID, oauth string, err error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", fmt.Errorf("jwtauth: the issuer %s is no URL with a host and without query and fragment", quoted(issuer))
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	return path + "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server" + path, nil
}

// ResourceMetadata describes an API to clients that do not know it yet (RFC 9728).
type ResourceMetadata struct {
	Resource             string   // the API's own URL, as clients name it; required
	AuthorizationServers []string // the issuers whose tokens it takes; required
	Scopes               []string // scopes_supported
	Name                 string   // for people
	Documentation        string   // a page for people
}

// ResourceMetadataHandler serves the metadata of an API, and returns the URL where
// it must be mounted: that of the resource with /.well-known/oauth-protected-resource
// inserted before its path (RFC 9728, section 3.1). Set
// MiddlewareOptions.ResourceMetadataURL to it, and challenges name it.
func ResourceMetadataHandler(m ResourceMetadata) (h http.Handler, at string, err error) {
	if m.Resource == "" || len(m.AuthorizationServers) == 0 {
		return nil, "", errors.New("jwtauth: ResourceMetadata needs a Resource and at least one of AuthorizationServers")
	}
	for _, value := range append([]string{m.Resource, m.Documentation}, m.AuthorizationServers...) {
		if err := checkPublicURL("a URL of ResourceMetadata", value); err != nil {
			return nil, "", err
		}
	}
	u, err := url.Parse(m.Resource)
	if err != nil || u.RawQuery != "" {
		return nil, "", fmt.Errorf("jwtauth: ResourceMetadata.Resource is %s: a URL without a query is expected", quoted(m.Resource))
	}
	text, err := json.Marshal(struct {
		Resource      string   `json:"resource"`
		Servers       []string `json:"authorization_servers"`
		Scopes        []string `json:"scopes_supported,omitempty"`
		Methods       []string `json:"bearer_methods_supported"`
		Name          string   `json:"resource_name,omitempty"`
		Documentation string   `json:"resource_documentation,omitempty"`
	}{m.Resource, m.AuthorizationServers, m.Scopes, []string{"header"}, m.Name, m.Documentation})
	if err != nil {
		return nil, "", err
	}
	at = u.Scheme + "://" + u.Host + "/.well-known/oauth-protected-resource" + strings.TrimSuffix(u.EscapedPath(), "/")
	return newDocument("application/json", metadataMaxAge, text), at, nil
}

// checkPublicURL takes https URLs, and http ones of loopback addresses, for
// development; empty ones are left to the caller.
func checkPublicURL(name, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return fmt.Errorf("jwtauth: %s is %s: an https URL is expected, without user and fragment", name, quoted(text))
	}
	return nil
}
