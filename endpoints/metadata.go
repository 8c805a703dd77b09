// Package endpoints has ready parts of the endpoints of an issuer and of an API: the
// metadata that tell clients where everything is, and a throttle for logins.
package endpoints

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	origin   string // of the document; "" if the name of the issuer is not a URL
	paths    []string
	document func(ctx context.Context) (*published.Document, error)
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

// Paths returns the paths at which clients look for the document: mount it at each.
func (m *Metadata) Paths() []string {
	if m == nil {
		return nil
	}
	return slices.Clone(m.paths)
}

// URL returns the address that clients try first. For the metadata of an API it is the
// value for MiddlewareOptions.ResourceMetadataURL.
func (m *Metadata) URL() string {
	if m == nil || len(m.paths) == 0 {
		return ""
	}
	return m.origin + m.paths[0]
}

// MetadataOptions says where the endpoints of an issuer are mounted, which only the
// program knows. URLs are https, or http for loopback addresses. An empty member is left
// out of the document.
type MetadataOptions struct {
	JWKSURI               string   // where the Ring is served; required
	AuthorizationEndpoint string   // of the OpenID provider or authorization server that the program belongs to
	TokenEndpoint         string   // where refresh tokens are redeemed
	RevocationEndpoint    string   // RFC 7009
	Scopes                []string // scopes_supported
	GrantTypes            []string // grant_types_supported. Default refresh_token, if there is a TokenEndpoint
	ResponseTypes         []string // response_types_supported; none without an AuthorizationEndpoint
	Documentation         string   // service_documentation: a page for people
}

// NewMetadata makes the metadata of an issuer: those of an authorization server
// (RFC 8414) and, with the same members, of an OpenID provider (OpenID Connect Discovery
// 1.0), for verifiers that find the keys by the name of the issuer. The name must be a
// URL. The signing algorithms follow the keys. But many clients read metadata only once
// and know only the algorithms of that time: announce a new algorithm by a key that is
// accepted and does not sign, until the clients have been restarted.
func NewMetadata(issuer *jwtauth.Issuer, o MetadataOptions) (*Metadata, error) {
	seam, err := issuer.EndpointsSeam()
	if err != nil {
		return nil, err
	}
	if o.JWKSURI == "" {
		return nil, errors.New("endpoints: MetadataOptions.JWKSURI is missing: where the Ring is served")
	}
	for name, value := range map[string]string{
		"JWKSURI": o.JWKSURI, "AuthorizationEndpoint": o.AuthorizationEndpoint, "TokenEndpoint": o.TokenEndpoint,
		"RevocationEndpoint": o.RevocationEndpoint, "Documentation": o.Documentation,
	} {
		if err := wellknown.CheckPublic("MetadataOptions."+name, value); err != nil {
			return nil, fmt.Errorf("endpoints: %w", err)
		}
	}
	openID, oauth, err := wellknown.Paths(seam.Name)
	if err != nil {
		return nil, fmt.Errorf("endpoints: %w", err)
	}
	d := &issuerDocument{issuer: seam, o: o}
	if _, err := d.current(context.Background()); err != nil {
		return nil, err
	}
	u, _ := url.Parse(seam.Name)
	return &Metadata{u.Scheme + "://" + u.Host, []string{openID, oauth}, d.current}, nil
}

// issuerDocument makes the document of an issuer.
type issuerDocument struct {
	issuer keyset.Issuer
	o      MetadataOptions
	last   atomic.Pointer[documentOf]
}

// documentOf is a document and the keys whose algorithms it names.
type documentOf struct {
	keys *keyset.Table
	*published.Document
}

// current returns the document for the keys of this moment.
func (d *issuerDocument) current(ctx context.Context) (*published.Document, error) {
	keys, err := d.issuer.Keys.Current(ctx, d.issuer.Now())
	if err != nil {
		return nil, err
	}
	if last := d.last.Load(); last != nil && last.keys == keys {
		return last.Document, nil
	}
	var algorithms []string
	for _, k := range keys.All() {
		if k.Public != nil && !slices.Contains(algorithms, k.Alg.Name) {
			algorithms = append(algorithms, k.Alg.Name)
		}
	}
	if algorithms == nil {
		return nil, errors.New("endpoints: the issuer has no public keys: nobody else can verify the signatures of HMAC keys")
	}
	o := d.o
	if o.GrantTypes == nil && o.TokenEndpoint != "" {
		o.GrantTypes = []string{"refresh_token"}
	}
	if o.ResponseTypes == nil {
		o.ResponseTypes = []string{}
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
		d.issuer.Name, o.JWKSURI, o.AuthorizationEndpoint, o.TokenEndpoint, o.RevocationEndpoint, o.Documentation,
		o.Scopes, o.GrantTypes, o.ResponseTypes, []string{"public"}, algorithms,
	})
	if err != nil {
		return nil, err
	}
	made := published.New("application/json", bound.KeySetAge, text)
	d.last.Store(&documentOf{keys, made})
	return made, nil
}

// ResourceOptions describes an API to clients that do not know it yet.
type ResourceOptions struct {
	Resource             string   // the URL of the API, as clients name it; required
	AuthorizationServers []string // the issuers whose tokens it accepts; required
	Scopes               []string // scopes_supported
	Name, Documentation  string   // for people
}

// NewResourceMetadata makes the metadata of an API (RFC 9728). Mount it at its path, and
// set MiddlewareOptions.ResourceMetadataURL to its URL, so that challenges name it.
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
	return &Metadata{u.Scheme + "://" + u.Host, []string{path}, func(context.Context) (*published.Document, error) { return document, nil }}, nil
}
