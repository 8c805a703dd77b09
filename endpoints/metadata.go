package endpoints

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/published"
	"github.com/jwtauth-go/jwtauth/internal/wellknown"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// resourceMaxAge is how long clients may keep the metadata of an API.
const resourceMaxAge = time.Hour

// Metadata serves one metadata document. It is safe for concurrent use. The zero value
// answers 503.
type Metadata struct {
	origin   string // scheme and host of the document
	paths    []string
	document func(ctx context.Context) (*published.Document, error)
	issuer   *issuerDocument // nil for the metadata of an API
}

// ServeHTTP answers GET and HEAD with the document. Range is ignored.
func (m *Metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m == nil || m.document == nil {
		wire.WriteUnavailable(w, r)
		return
	}
	d, err := m.document(r.Context())
	if err != nil {
		wire.WriteUnavailable(w, r)
		return
	}
	d.ServeHTTP(w, r)
}

// Paths returns the paths at which clients look for the document. Mount the handler at
// each of them.
func (m *Metadata) Paths() []string {
	if m == nil {
		return nil
	}
	return slices.Clone(m.paths)
}

// URL returns the URL that clients try first. For the metadata of an API, set
// MiddlewareOptions.ResourceMetadataURL to it.
func (m *Metadata) URL() string {
	if m == nil || len(m.paths) == 0 {
		return ""
	}
	return m.origin + m.paths[0]
}

// Missing returns which kinds of clients will not find what they need in the metadata of an issuer, and
// what to do about it: one sentence for each. Log it at the start of the program. Most services do not
// need all kinds. For the metadata of an API, there are none.
func (m *Metadata) Missing() (sentences []string) {
	if m == nil || m.issuer == nil {
		return nil
	}
	for _, need := range clientNeeds {
		if _, ok := m.issuer.members[need.member]; !ok {
			sentences = append(sentences, need.member+" is missing: "+need.without)
		}
	}
	keys, err := m.issuer.issuer.Keys.Current(context.Background(), m.issuer.issuer.Now())
	if err != nil {
		return append(sentences, "the keys could not be read, so nothing is known about their algorithms")
	}
	if algorithms := publicAlgorithms(keys); len(algorithms) > 1 {
		sentences = append(sentences, "the keys have several algorithms: python-jose and node-jose cannot use such a JWK Set. Sign with one algorithm")
	} else if !slices.Contains(algorithms, "RS256") {
		sentences = append(sentences, "no key is for RS256: clients that check OpenID Connect Discovery 1.0 to the letter, such as Authlib, refuse the document, and a few verifiers know no other algorithm")
	}
	return sentences
}

// clientNeeds has the members that clients of some kinds need.
var clientNeeds = []struct{ member, without string }{
	{"authorization_endpoint", "clients that log users in refuse the document, such as those of the Model Context Protocol. Set AuthorizationEndpoint"},
	{"code_challenge_methods_supported", "clients that demand PKCE refuse the document, such as the Go SDK of the Model Context Protocol. Set it in More, to S256"},
	{"registration_endpoint", "clients cannot register themselves (RFC 7591). Set it in More"},
	{"token_endpoint", "clients do not find where to refresh a token. Set Handlers with Options.Client"},
	{"token_endpoint_auth_methods_supported", "clients authenticate with client_secret_basic (RFC 8414, section 2). Set it in More if yours use another method"},
	{"introspection_endpoint", "services that ask about tokens (RFC 7662) do not find where. Set Handlers with Options.Introspect"},
}

// MetadataOptions has the members of the metadata of an issuer. A URL must be https, or http
// for a loopback address. An empty member is left out of the document, except for
// response_types_supported, which is required.
type MetadataOptions struct {
	// JWKSURI is the URL of the JWK Set, which a Ring serves. Required.
	JWKSURI string
	// Handlers has the OAuth routes. If Options.Client is set, the document has token_endpoint,
	// revocation_endpoint, grant_types_supported and refresh_token_expiration_types_supported. If
	// Options.Introspect is set, it has introspection_endpoint. The URLs have the scheme and the host
	// of the issuer.
	Handlers *Handlers
	// AuthorizationEndpoint is the authorization endpoint. Set it if an OpenID provider or an
	// authorization server uses the same issuer name. Some clients refuse metadata without it, such as
	// the SDK of the Model Context Protocol.
	AuthorizationEndpoint string
	ResponseTypes         []string // response_types_supported. Default "code" if AuthorizationEndpoint is set, otherwise an empty list
	Scopes                []string // scopes_supported
	Documentation         string   // service_documentation, the URL of a page for developers
	// More has further members, such as code_challenge_methods_supported, registration_endpoint
	// and token_endpoint_auth_methods_supported, or the URLs of routes of your own. The values are
	// encoded as JSON. A member that NewMetadata sets is an error.
	More map[string]any
}

// NewMetadata makes the metadata of an issuer, from which verifiers find its keys. The
// document is the same for authorization servers (RFC 8414) and OpenID providers (OpenID
// Connect Discovery 1.0). The name of the issuer must be a URL.
//
// The document lists the algorithms of the present keys. Many clients read it only once.
// Before you sign with a new algorithm, add a key for that algorithm to the Ring as an
// accepted key, which does not sign yet. Let that key sign after the clients have been
// restarted.
func NewMetadata(issuer *jwtauth.Issuer, o MetadataOptions) (*Metadata, error) {
	seam, err := issuer.EndpointsSeam()
	if err != nil {
		return nil, err
	}
	if o.JWKSURI == "" {
		return nil, errors.New("endpoints: MetadataOptions.JWKSURI is missing: where the Ring is served")
	}
	for name, value := range map[string]string{"JWKSURI": o.JWKSURI, "AuthorizationEndpoint": o.AuthorizationEndpoint, "Documentation": o.Documentation} {
		if err := wellknown.CheckPublic("MetadataOptions."+name, value); err != nil {
			return nil, fmt.Errorf("endpoints: %w", err)
		}
	}
	if o.Handlers != nil && (o.Handlers.mux == nil || o.Handlers.seam.Name != seam.Name) {
		return nil, errors.New("endpoints: MetadataOptions.Handlers are not those of this issuer")
	}
	openID, oauth, err := wellknown.Paths(seam.Name)
	if err != nil {
		return nil, fmt.Errorf("endpoints: %w", err)
	}
	u, _ := url.Parse(seam.Name)
	origin := u.Scheme + "://" + u.Host
	d := &issuerDocument{issuer: seam}
	if d.members, err = o.members(seam.Name, origin); err != nil {
		return nil, err
	}
	if _, err := d.current(context.Background()); err != nil {
		return nil, err
	}
	return &Metadata{origin, []string{openID, oauth}, d.current, d}, nil
}

// algorithmsMember is the only member that changes.
const algorithmsMember = "id_token_signing_alg_values_supported"

// members returns the members of the document. The value of algorithmsMember is nil; current sets
// it.
func (o *MetadataOptions) members(issuer, origin string) (map[string]any, error) {
	m := map[string]any{
		"issuer": issuer, "jwks_uri": o.JWKSURI, "subject_types_supported": []string{"public"}, "response_types_supported": []string{}, algorithmsMember: nil,
	}
	set := func(name string, value any, isThere bool) {
		if isThere {
			m[name] = value
		}
	}
	set("authorization_endpoint", o.AuthorizationEndpoint, o.AuthorizationEndpoint != "")
	set("response_types_supported", []string{"code"}, o.AuthorizationEndpoint != "")
	set("response_types_supported", o.ResponseTypes, len(o.ResponseTypes) > 0)
	set("scopes_supported", o.Scopes, len(o.Scopes) > 0)
	set("service_documentation", o.Documentation, o.Documentation != "")
	if h := o.Handlers; h != nil {
		base := origin + h.o.Path
		set("token_endpoint", base+"/token", h.o.Client != nil)
		set("grant_types_supported", []string{"refresh_token"}, h.o.Client != nil)
		set("refresh_token_expiration_types_supported", []string{"authorization", "token_timeout"}, h.o.Client != nil) // draft-ietf-oauth-refresh-token-expiration
		set("revocation_endpoint", base+"/revoke", h.o.Client != nil)
		set("introspection_endpoint", base+"/introspect", h.o.Introspect != nil)
	}
	for name, value := range o.More {
		if _, isSet := m[name]; isSet {
			return nil, fmt.Errorf("endpoints: MetadataOptions.More has %s, which is set already", errtext.Quote(name))
		}
		m[name] = value
	}
	return m, nil
}

// issuerDocument makes the document of an issuer, and caches it.
type issuerDocument struct {
	issuer  keyset.Issuer
	members map[string]any
	last    atomic.Pointer[cachedDocument]
}

// cachedDocument is a document and the keys whose algorithms it lists.
type cachedDocument struct {
	keys *keyset.Table
	*published.Document
}

// current returns the document for the present keys.
func (d *issuerDocument) current(ctx context.Context) (*published.Document, error) {
	keys, err := d.issuer.Keys.Current(ctx, d.issuer.Now())
	if err != nil {
		return nil, err
	}
	if last := d.last.Load(); last != nil && last.keys == keys {
		return last.Document, nil
	}
	algorithms := publicAlgorithms(keys)
	if algorithms == nil {
		return nil, errors.New("endpoints: the issuer has no public keys: nobody else can verify the signatures of HMAC keys")
	}
	members := maps.Clone(d.members)
	members[algorithmsMember] = algorithms
	text, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("endpoints: MetadataOptions.More: %w", err)
	}
	document := published.New("application/json", bound.KeySetAge, text)
	d.last.Store(&cachedDocument{keys, document})
	return document, nil
}

// publicAlgorithms returns the algorithms of the keys that are published, each once.
func publicAlgorithms(keys *keyset.Table) (algorithms []string) {
	for _, k := range keys.All() {
		if k.Public != nil && !slices.Contains(algorithms, k.Alg.Name) {
			algorithms = append(algorithms, k.Alg.Name)
		}
	}
	return algorithms
}

// ResourceOptions has the members of the metadata of an API (RFC 9728).
type ResourceOptions struct {
	Resource             string   // the URL of the API that clients use. Required
	AuthorizationServers []string // the issuers whose tokens the API accepts. Required
	Scopes               []string // scopes_supported
	Name                 string   // resource_name, for users
	Documentation        string   // resource_documentation, the URL of a page for developers
}

// NewResourceMetadata makes the metadata of an API (RFC 9728). Mount it at the path of
// [Metadata.Paths], and set MiddlewareOptions.ResourceMetadataURL to [Metadata.URL]. The
// middleware then names this URL in its challenges (WWW-Authenticate).
func NewResourceMetadata(o ResourceOptions) (*Metadata, error) {
	if o.Resource == "" || len(o.AuthorizationServers) == 0 {
		return nil, errors.New("endpoints: ResourceOptions needs a Resource and at least one of AuthorizationServers")
	}
	for _, value := range append([]string{o.Resource, o.Documentation}, o.AuthorizationServers...) {
		if err := wellknown.CheckPublic("a URL of ResourceOptions", value); err != nil {
			return nil, fmt.Errorf("endpoints: %w", err)
		}
	}
	u, err := url.Parse(o.Resource)
	if err != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("endpoints: ResourceOptions.Resource is %s: a URL without a query is expected", errtext.Quote(o.Resource))
	}
	text, err := json.Marshal(struct {
		Resource      string   `json:"resource"`
		Servers       []string `json:"authorization_servers"`
		Scopes        []string `json:"scopes_supported,omitempty"`
		Methods       []string `json:"bearer_methods_supported"`
		Name          string   `json:"resource_name,omitempty"`
		Documentation string   `json:"resource_documentation,omitempty"`
	}{o.Resource, o.AuthorizationServers, o.Scopes, []string{"header"}, o.Name, o.Documentation})
	if err != nil {
		return nil, err
	}
	document := published.New("application/json", resourceMaxAge, text)
	path := "/.well-known/oauth-protected-resource" + strings.TrimSuffix(u.EscapedPath(), "/")
	return &Metadata{u.Scheme + "://" + u.Host, []string{path}, func(context.Context) (*published.Document, error) { return document, nil }, nil}, nil
}
