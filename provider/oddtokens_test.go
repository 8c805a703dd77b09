package provider_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/provider"
)

// textDate is a date in the text of claims: "now+3600" is a number, "text:now+3600" a string.
var textDate = regexp.MustCompile(`"(text:)?now([+-]\d+)?"`)

func TestOddTokensAreAcceptedIfTheyDecideNothing(t *testing.T) {
	all := fixture.ProviderSamples(t, "oddtokens.json")
	require.Greater(t, len(all), 20)
	for _, s := range all {
		t.Run(s.ID, func(t *testing.T) {
			clock := fixture.NewClock()
			p := provider.Issuer("https://issuer.example", "https://api.example.com")
			p.KeysURL = "https://issuer.example/keys"
			p.Remote.Client = fixture.NewSource(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.Set(t)) })).Client()
			p.Remote.Now, p.Options.Now = clock.Now, clock.Now
			v, err := p.NewVerifier()
			require.NoError(t, err)
			token := ""
			if s.ClaimsText == "" {
				token = s.Sign(t, fixture.ProviderVariant{}, clock.Now())
			} else {
				token = signText(t, &s, clock.Now())
			}
			got, err := v.Verify(t.Context(), token)
			switch s.Want {
			case "accept":
				require.NoError(t, err, s.Source)
				require.Equal(t, "u", got.Subject)
			case "refuse":
				require.ErrorIs(t, err, jwtauth.ErrRefused, s.Source)
			default:
				require.Equal(t, "either", s.Want)
			}
		})
	}
}

// signText signs the claims of a sample that are a text.
func signText(t *testing.T, s *fixture.ProviderSample, now time.Time) string {
	t.Helper()
	claims := textDate.ReplaceAllStringFunc(s.ClaimsText, func(found string) string {
		parts := textDate.FindStringSubmatch(found)
		offset, _ := strconv.Atoi(parts[2])
		date := strconv.FormatInt(now.Unix()+int64(offset), 10)
		if parts[1] != "" {
			return strconv.Quote(date)
		}
		return date
	})
	key, err := jwk.NewSigning(jwk.RS256, s.Signer())
	require.NoError(t, err)
	return fixture.SignWith(t, key, s.Header, claims)
}
