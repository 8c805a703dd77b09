package guessable_test

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/guessable"
)

func publishedSecrets(t testing.TB) (list []string) {
	t.Helper()
	text, err := os.ReadFile("published.txt")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "# ") {
			list = append(list, strings.TrimSuffix(line, "\n"))
		}
	}
	require.Greater(t, len(list), 300)
	return list
}

func TestPublishedSecretsAreRefusedInEveryForm(t *testing.T) {
	for _, s := range publishedSecrets(t) {
		require.GreaterOrEqual(t, len(s), 15, "%s: a random secret may have so short a part by chance", s)
		forms := map[string][]byte{
			"as written":       []byte(s),
			"in capitals":      []byte(strings.ToUpper(s)),
			"in small letters": []byte(strings.ToLower(s)),
			"with a line feed": []byte(s + "\r\n"),
			"as a part":        append(append(random(8), s...), random(8)...),
			"twice":            []byte(s + s),
			"its base64":       base64.StdEncoding.AppendEncode(nil, []byte(s)),
			"its base64url":    base64.RawURLEncoding.AppendEncode(nil, []byte(s)),
			"its hexadecimal":  hex.AppendEncode(nil, []byte(s)),
		}
		if b, err := hex.DecodeString(s); err == nil {
			forms["the hexadecimal digits decoded"] = b
		}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			if b, err := encoding.DecodeString(s); err == nil && len(b) >= 16 {
				forms["the base64 decoded"] = b
			}
		}
		for name, secret := range forms {
			err := guessable.Check(secret)
			require.ErrorContains(t, err, "generate one instead", "%s, %s", s, name)
			require.NotContains(t, err.Error(), s)
		}
	}
}

// Without the list: what somebody writes in the manner of the samples.
func TestSentencesAreRefused(t *testing.T) {
	for _, s := range []string{
		"please-change-this-jwt-secret-before-production",
		"PleaseChangeThisSecretBeforeProduction!!",
		"this is a very secret key for my application",
		"my-dev-jwt-secret-must-be-at-least-32-bytes",
		"SUPER_SECRET_SIGNING_KEY_FOR_LOCAL_DEVELOPMENT",
		"mysupersecretjwtkeynobodyknowsthepassword",
		"change_me_change_me_now_this_is_only_an_example",
		"ThisIsAReallyLongSecretForTestingPurposes2024",
		"token_secret_0123456789abcdefghijklmnop",
		"development-key-aaaaaaaaaaaaaaaaaaaa",
	} {
		require.ErrorContains(t, guessable.Check([]byte(s)), "words that are common in sample", s)
		require.Error(t, guessable.Check(base64.StdEncoding.AppendEncode(nil, []byte(s))), s)
	}
	for _, s := range []string{ // ten words that dice picked
		"blaspheme overhead cramp gratitude pelican smuggler vintage turbine lagoon mosaic",
		"correcthorsebatterystaplecactusorbitvelvetthunder",
	} {
		require.NoError(t, guessable.Check([]byte(s)), s)
	}
}

func FuzzCheckTellsNothing(f *testing.F) {
	f.Add([]byte("your-256-bit-secret-your-256-bit-secret"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----"))
	f.Add([]byte(`{"kty":"RSA"}`))
	f.Fuzz(func(t *testing.T, secret []byte) {
		err := guessable.Check(secret)
		if err != nil && len(secret) >= 20 && strings.Contains(err.Error(), string(secret)) {
			t.Fatalf("%q is repeated in %q", secret, err)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	secret := base64.StdEncoding.AppendEncode(nil, random(64))
	for b.Loop() {
		if err := guessable.Check(secret); err != nil {
			b.Fatal(err)
		}
	}
}
