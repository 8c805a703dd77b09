package errtext_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

func TestIssuersThatLookAlikeAreToldApart(t *testing.T) {
	const want = "https://issuer.test/tenant"
	for got, difference := range map[string]string{
		"https://issuer.test/tenant/":         "slash",
		"https://ISSUER.test/tenant":          "case of letters",
		"https://issuer.test:443/tenant":      "port",
		"https://issuer.test:/tenant":         "port",
		"https://user@issuer.test/tenant":     "port",
		"https://a:b@issuer.test:1/tenant":    "port",
		"https://issuer.test/tenant?a=b":      "port",
		"https://issuer.test/tenant#a":        "port",
		"https://issuer.test:443/tenant?a/b@": "port",
		"https://issuer.test":                 "",
		"https://issuer.test/tenant/a":        "",
		"https://issuer.test.a/tenant":        "",
		"https://a@b.test/tenant":             "",
		"https://issuer.test?/tenant":         "",
		"http://issuer.test/tenant":           "",
		"issuer.test/tenant":                  "",
		"://":                                 "",
		"":                                    "",
		strings.Repeat("x", 1025):             "",
	} {
		text := errtext.IssuerDifference(want, got)
		require.Equal(t, difference == "", text == "", "%q: %q", got, text)
		require.Contains(t, text, difference, got)
	}
	require.Contains(t, errtext.IssuerDifference("https://[::1]/a", "https://[::1]:8080/a"), "port")
	require.Empty(t, errtext.IssuerDifference("https://[::1]/a", "https://[::2]/a"))
	require.Empty(t, errtext.IssuerDifference("issuer", "other"))
	require.Contains(t, errtext.IssuerDifference("issuer", "Issuer"), "case")
}

// A stranger chooses one of the names.
func TestComparingIssuersAllocatesNothing(t *testing.T) {
	const want = "https://issuer.test/tenant"
	for _, got := range []string{
		"https://issuer.test:443/" + strings.Repeat("\u00e4", 490), "https://" + strings.Repeat("%40", 300) + "@issuer.test:1/tenant",
		want + "?" + strings.Repeat("a=b&", 200), strings.Repeat("x", 1024), strings.ToUpper(want),
	} {
		require.Zero(t, testing.AllocsPerRun(10, func() { errtext.IssuerDifference(want, got) }), got)
	}
}

func TestAURLIsPrintedWithoutWhatMayBeSecret(t *testing.T) {
	long := "https://issuer.test/" + strings.Repeat("x", 200)
	for text, want := range map[string]string{
		"https://issuer.test/jwks":                        `"https://issuer.test/jwks"`,
		"https://issuer.test/jwks?key=word":               `"https://issuer.test/jwks?…"`,
		"https://issuer.test/jwks#word":                   `"https://issuer.test/jwks#…"`,
		"https://user:word@issuer.test/jwks":              `"https://…@issuer.test/jwks"`,
		"https://word@issuer.test":                        `"https://…@issuer.test"`,
		"https://user:wo@rd@issuer.test/a@b":              `"https://…@issuer.test/a@b"`,
		"https://user:wo?rd@issuer.test/jwks":             `"…@issuer.test/jwks"`,
		"https://issuer.test/jwks?mail=a@b.test":          `"https://issuer.test/jwks?…"`,
		"https://user:wo/rd@issuer.test/jwks":             `"…@issuer.test/jwks"`,
		"https:user:word@issuer.test":                     `"…@issuer.test"`,
		"user:word@issuer.test":                           `"…@issuer.test"`,
		"//user:word@issuer.test":                         `"//…@issuer.test"`,
		"https://issuer.test/jwk/account@a.test":          `"https://issuer.test/jwk/account@a.test"`,
		"https://issuer.test/\n":                          `"https://issuer.test/\n"`,
		"":                                                `""`,
		long:                                              `"` + long[:200] + `"…`,
		"https://issuer.test/" + strings.Repeat("é", 100): `"https://issuer.test/` + strings.Repeat("é", 90) + `"…`,
	} {
		require.Equal(t, want, errtext.URL(text), text)
	}
}
