package jwk_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// setSample is a JWK Set as real servers write it, with placeholders for keys.
type setSample struct {
	Name, MediaType, Set string
	Tokens               [][3]string // the key that signs, the kid of the header, and accept, refuse or either
}

// membersOf writes the members of a key in the form of a placeholder.
func membersOf(t *testing.T, k *jwk.SigningKey, form string) string {
	t.Helper()
	text, err := k.Verification().JWK()
	require.NoError(t, err)
	if form == "private" {
		text, err = k.PrivateJWK()
		require.NoError(t, err)
	}
	var members map[string]string
	require.NoError(t, json.Unmarshal(text, &members))
	for _, name := range []string{"kid", "alg", "use"} {
		delete(members, name)
	}
	for name, value := range members {
		raw, err := base64.RawURLEncoding.DecodeString(value)
		switch {
		case form == "pad" && name == "n":
			require.NoError(t, err)
			members[name] = base64.URLEncoding.EncodeToString(raw)
			require.Contains(t, members[name], "=")
		case form == "zero-n" && name == "n" || form == "zero" && (name == "x" || name == "y"):
			require.NoError(t, err)
			members[name] = base64.RawURLEncoding.EncodeToString(append([]byte{0}, raw...))
		}
	}
	written := fixture.Text(t, members)
	return written[1 : len(written)-1]
}

func TestJWKSetsAsServersWriteThemAreReadAndNothingElse(t *testing.T) {
	text, err := os.ReadFile("../testdata/jwksets.json")
	require.NoError(t, err)
	var samples []setSample
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&samples))
	require.Greater(t, len(samples), 30)
	keys := map[string]*jwk.SigningKey{
		"rsa-a": fixture.KeyFor(t, jwk.RS256), "rsa-b": fixture.NewKey(t, jwk.RS256),
		"p256-a": fixture.KeyFor(t, jwk.ES256), "p256-b": fixture.NewKey(t, jwk.ES256),
	}
	placeholder := regexp.MustCompile(`\{\{([^}]*)\}\}`)
	for _, s := range samples {
		t.Run(s.Name, func(t *testing.T) {
			set := placeholder.ReplaceAllStringFunc(s.Set, func(found string) string {
				words := strings.Fields(strings.Trim(found, "{}"))
				switch {
				case words[0] == "many":
					var many []string
					for i := range 100 {
						many = append(many, "{"+membersOf(t, keys["p256-b"], "")+fmt.Sprintf(`,"kid":"m%d"}`, i))
					}
					return strings.Join(many, ",")
				case words[0] == "n":
					n := regexp.MustCompile(`"n":"([^"]*)"`).FindStringSubmatch(membersOf(t, keys[words[1]], ""))
					return n[1]
				case len(words) == 2:
					return membersOf(t, keys[words[0]], words[1])
				}
				return membersOf(t, keys[words[0]], "")
			})
			r := fixture.NewRemote(t)
			r.Source.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{s.MediaType}
				fmt.Fprint(w, set)
			}))
			for _, token := range s.Tokens {
				k := keys[token[0]]
				_, err := r.Verifier.Verify(t.Context(), fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": token[1]}), r.Claims(nil)))
				switch token[2] {
				case "accept":
					require.NoError(t, err, "%v: %v", token, r.Set.Status())
				case "refuse":
					require.Error(t, err, "%v", token)
				default:
					require.Equal(t, "either", token[2])
				}
			}
		})
	}
}

func TestOfManyKeysTheFirstHundredAreUsed(t *testing.T) {
	r := fixture.NewRemote(t)
	k := fixture.KeyFor(t, jwk.ES256)
	var all []any
	for i := range 101 {
		all = append(all, k.WithID(fmt.Sprint(i)))
	}
	r.Source.Serve(fixture.Document(fixture.JWKS(t, all...)))
	signed := func(kid string) string {
		return fixture.SignWith(t, k.WithID(kid), fixture.Header(k.WithID(kid), nil), r.Claims(nil))
	}
	r.RequireAccepted(signed("0"))
	r.RequireAccepted(signed("99"))
	s := r.Set.Status()
	require.Equal(t, 100, s.Keys)
	require.Equal(t, []string{"jwk: the JWK Set has 101 keys, the first 100 are used"}, s.Skipped)
	first := r.KeyEvents()[0]
	require.Equal(t, event.KeySkipped, first.Kind)
	require.Equal(t, "too_many", first.Reason)
	r.RequireUnknown(signed("100"))
}
