package jwk_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// discovery is where a provider has its metadata. See testdata/discovery.json.
type discovery struct {
	Provider string
	URL      string // the URL below which the metadata are
	Metadata string // their address
	Issuer   string // the issuer that they name
	Keys     string // their jwks_uri
	Needs    string // what a program needs besides the issuer: "", MetadataURL or NewRemote
}

func (d discovery) directory(keys http.Handler) fixture.Directory {
	return fixture.Directory{d.Metadata: fixture.Metadata(d.Issuer, d.Keys), d.Keys: keys}
}

func discoveries(t *testing.T) (all []discovery) {
	text, err := os.ReadFile(filepath.Join(fixture.Root(), "testdata", "discovery.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &all))
	require.Greater(t, len(all), 30)
	return all
}

func TestDiscoveryWorksWhenToldWhereAndIsRefusedWhenNotTold(t *testing.T) {
	needs := make(map[string]int)
	for _, d := range discoveries(t) {
		t.Run(d.Provider, func(t *testing.T) {
			needs[d.Needs]++
			key := fixture.KeyFor(t, jwk.RS256)
			source := fixture.NewSource(d.directory(fixture.Document(fixture.JWKS(t, key))))
			discover := func(issuer, metadata string) error {
				source.Forget()
				set, err := jwk.Discover(issuer, jwk.RemoteOptions{Client: source.Client(), MetadataURL: metadata})
				require.NoError(t, err)
				err = set.Ready(t.Context())
				if err != nil {
					require.NotContains(t, source.URLs(), d.Keys, "the keys are fetched although the metadata are those of somebody else")
				}
				return err
			}
			direct, err := jwk.NewRemote(d.Keys, jwk.RemoteOptions{Client: source.Client()})
			require.NoError(t, err)
			require.NoError(t, direct.Ready(t.Context()))
			require.Error(t, discover("https://other.test/", d.Metadata))
			require.Error(t, discover(d.Issuer+"/x", d.Metadata))

			switch d.Needs {
			case "":
				require.NoError(t, discover(d.Issuer, ""))
				require.Equal(t, []string{d.Metadata, d.Keys}, source.URLs())
				require.NoError(t, discover(d.Issuer, d.Metadata))
				require.Equal(t, []string{d.Metadata, d.Keys}, source.URLs())
			case "MetadataURL":
				err := discover(d.Issuer, "")
				require.ErrorContains(t, err, "no metadata of the issuer")
				require.ErrorContains(t, err, "set RemoteOptions.MetadataURL")
				err = discover(d.URL, "")
				require.Error(t, err)
				if slices.Contains(source.URLs(), d.Metadata) {
					require.ErrorContains(t, err, fmt.Sprintf("name the issuer %q, not %q", d.Issuer, d.URL))
					require.ErrorContains(t, err, "set RemoteOptions.MetadataURL to the address of the metadata")
				}
				err = discover(d.URL, d.Metadata)
				require.ErrorContains(t, err, fmt.Sprintf("name the issuer %q", d.Issuer))
				require.ErrorContains(t, err, "use that as the issuer")
				require.NoError(t, discover(d.Issuer, d.Metadata))
				require.Equal(t, []string{d.Metadata, d.Keys}, source.URLs())
			case "NewRemote":
				err := discover(d.URL, "")
				require.ErrorContains(t, err, "this is a template")
				require.ErrorContains(t, err, "ResolveIssuers")
			default:
				t.Errorf("needs %q", d.Needs)
			}
		})
	}
	require.Greater(t, needs[""], 20)
	require.Greater(t, needs["MetadataURL"], 5)
	require.Equal(t, 1, needs["NewRemote"])
}

// The recipe for the issuers of many tenants with one JWK Set; see docs/verifying.md.
func TestTenantsOfATemplateShareTheKeysAndNothingElse(t *testing.T) {
	all := discoveries(t)
	d := all[slices.IndexFunc(all, func(d discovery) bool { return d.Needs == "NewRemote" })]
	w := fixture.New(t)
	source := fixture.NewSource(d.directory(w.Keys))
	keys, err := jwk.NewRemote(d.Keys, jwk.RemoteOptions{Client: source.Client(), Now: w.Clock.Now})
	require.NoError(t, err)
	tenant := func(id string) string { return strings.ReplaceAll(d.Issuer, "{tenantid}", id) }
	customers := map[string]bool{tenant("1111"): true, tenant("2222"): true}
	v, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		if known != nil || !customers[issuer] {
			return known, nil
		}
		return jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
	}, jwtauth.ResolveOptions{Now: w.Clock.Now})
	require.NoError(t, err)
	for id, ok := range map[string]bool{"1111": true, "2222": true, "3333": false, "{tenantid}": false, "": false, "1111/v2.0/../2222": false} {
		token, err := v.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": tenant(id)})))
		require.Equal(t, ok, err == nil, id)
		if ok {
			require.Equal(t, tenant(id), token.Issuer)
		} else {
			require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
		}
	}
	require.Equal(t, 1, source.Asked())
}

func TestErrorsOfDiscoverySayWhatToDoNext(t *testing.T) {
	const openID, oauth = fixture.Issuer + "/.well-known/openid-configuration", fixture.Issuer + "/.well-known/oauth-authorization-server"
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "\n<!doctype html><title>Log in</title>")
	})
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name string
		d    fixture.Directory
		want []string
		not  string
	}{
		{"nothing is there", fixture.Directory{}, []string{"no metadata of the issuer", openID, oauth, "404", "set RemoteOptions.MetadataURL", "NewRemote"}, ""},
		{"a page", fixture.Directory{openID: page, oauth: page}, []string{"no metadata of the issuer", "a page in HTML", "MetadataURL"}, ""},
		{"a page that says it is JSON", fixture.Directory{openID: fixture.Document("<html>"), oauth: fixture.Status(410)}, []string{"a page in HTML", "MetadataURL"}, ""},
		{"a server error", fixture.Directory{openID: fixture.Status(502)}, []string{"502", "404"}, "MetadataURL"},
		{"a login", fixture.Directory{openID: fixture.Status(401), oauth: fixture.Status(403)}, []string{"401", "403", "set RemoteOptions.Client"}, "MetadataURL"},
		{"a slash more", fixture.Directory{openID: fixture.Metadata(fixture.Issuer+"/", fixture.JWKSURL)}, []string{`name the issuer "https://issuer.test/", not "https://issuer.test"`, "a slash at its end", "use that as the issuer"}, "MetadataURL"},
		{"another host", fixture.Directory{openID: fixture.Metadata("https://sts.test", fixture.JWKSURL)}, []string{`name the issuer "https://sts.test", not "https://issuer.test"`, "use that as the issuer", "set RemoteOptions.MetadataURL"}, ""},
		{"no URL", fixture.Directory{openID: fixture.Metadata("sts", fixture.JWKSURL)}, []string{`name the issuer "sts", not`, "use that as the issuer", "set RemoteOptions.MetadataURL"}, ""},
		{"a template", fixture.Directory{openID: fixture.Metadata("https://issuer.test/{tenantid}", fixture.JWKSURL)}, []string{"this is a template", "ResolveIssuers", "NewRemote"}, "MetadataURL"},
		{"a name that no issuer has", fixture.Directory{openID: fixture.Metadata("https://issuer.test\n", fixture.JWKSURL)}, []string{`name the issuer "https://issuer.test\n"`}, "use that"},
		{"no issuer", fixture.Directory{openID: fixture.Document(`{"jwks_uri":"https://keys.test/jwks"}`)}, []string{"name no issuer"}, ""},
		{"no jwks_uri", fixture.Directory{openID: fixture.Document(`{"issuer":"https://issuer.test"}`)}, []string{"name no jwks_uri", "NewRemote"}, ""},
		{"a JWK Set", fixture.Directory{openID: fixture.Document(fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256)))}, []string{"are a JWK Set", "NewRemote"}, ""},
		{"keys over http", fixture.Directory{openID: fixture.Metadata(fixture.Issuer, "http://issuer.test/jwks")}, []string{"jwks_uri that cannot be used", "is not https"}, ""},
		{"long names", fixture.Directory{openID: fixture.Metadata("https://"+long, "https://"+long)}, []string{"name the issuer"}, ""},
		{"a long jwks_uri", fixture.Directory{openID: fixture.Metadata(fixture.Issuer, "http://issuer.test/"+long)}, []string{"is not https"}, ""},
		{"a secret in jwks_uri", fixture.Directory{openID: fixture.Metadata(fixture.Issuer, "https://user:hunter2@issuer.test/jwks?key=hunter2")}, []string{"jwks_uri that cannot be used"}, "hunter2"},
		{"a secret in issuer", fixture.Directory{openID: fixture.Metadata("https://user:hunter2@issuer.test/", fixture.JWKSURL)}, []string{"name the issuer"}, "hunter2"},
		{"PEM in place of JWKs", fixture.Directory{openID: fixture.Metadata(fixture.Issuer, fixture.JWKSURL), fixture.JWKSURL: fixture.Document(`{"kid":"-----BEGIN CERTIFICATE-----\n"}`)}, []string{"it has keys in PEM", "JWK Set"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := fixture.Discovered(t, fixture.Issuer, c.d)
			err := r.Set.Ready(t.Context())
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			if c.not != "" {
				require.NotContains(t, err.Error(), c.not)
			}
			require.Less(t, len(err.Error()), 1200)
		})
	}
	// Metadata in place of a JWK Set.
	set, err := jwk.NewRemote(openID, jwk.RemoteOptions{Client: fixture.NewSource(fixture.Metadata(fixture.Issuer, fixture.JWKSURL)).Client()})
	require.NoError(t, err)
	require.ErrorContains(t, set.Ready(t.Context()), "it is the metadata of an issuer: use Discover")
	// Some mistakes are found at once.
	for _, address := range []string{openID, oauth + "/tenant", fixture.Issuer + "/.well-known/jwks.json"} {
		_, err = jwk.Discover(address, jwk.RemoteOptions{})
		require.ErrorContains(t, err, "is not the name of an issuer")
		require.ErrorContains(t, err, "MetadataURL")
	}
	_, err = jwk.Discover(fixture.Issuer+"?p=policy", jwk.RemoteOptions{})
	require.ErrorContains(t, err, "set RemoteOptions.MetadataURL")
	_, err = jwk.NewRemote(fixture.JWKSURL, jwk.RemoteOptions{MetadataURL: openID})
	require.ErrorContains(t, err, "MetadataURL is for Discover")
	for _, address := range []string{"http://issuer.test/metadata", "issuer.test", "https://user:word@issuer.test/", "https://"} {
		_, err = jwk.Discover(fixture.Issuer, jwk.RemoteOptions{MetadataURL: address})
		require.Error(t, err, address)
	}
}

// Any name may be that of the issuer if the address of the metadata is known.
func TestWithMetadataURLTheIssuerNeedsNotBeAURL(t *testing.T) {
	const metadata = "https://login.test/metadata"
	for _, issuer := range []string{"kubernetes/serviceaccount", "stytch.com/project", "http://adfs.test/adfs/services/trust", fixture.Issuer + "?p=policy"} {
		w := fixture.New(t)
		source := fixture.NewSource(fixture.Directory{metadata: fixture.Metadata(issuer, fixture.JWKSURL), fixture.JWKSURL: w.Keys})
		set, err := jwk.Discover(issuer, jwk.RemoteOptions{MetadataURL: metadata, Client: source.Client(), Now: w.Clock.Now})
		require.NoError(t, err)
		v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": issuer})))
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), w.Sign(w.Claims(nil)))
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
		_, err = jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: "https://other.test", Audiences: []string{fixture.Audience}})
		require.ErrorContains(t, err, "discovered for the issuer")
	}
	for _, issuer := range []string{"", "a#b", "a\n", strings.Repeat("x", 1025)} {
		_, err := jwk.Discover(issuer, jwk.RemoteOptions{MetadataURL: metadata})
		require.Error(t, err)
	}
}
