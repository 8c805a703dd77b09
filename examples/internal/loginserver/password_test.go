package loginserver

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func TestReadsAndChecksAPHCString(t *testing.T) {
	text := newPasswordHash("correct horse").String()
	h, err := parsePasswordHash(text)
	require.NoError(t, err)
	require.Equal(t, text, h.String())
	g := newPasswordChecker()
	for password, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false, "correct horse ": false} {
		got, err := g.matches(t.Context(), h, password)
		require.NoError(t, err)
		require.Equal(t, want, got, password)
	}
	require.NotEqual(t, text, newPasswordHash("correct horse").String(), "the salt is not new")
}

// The vector is from the tests of the reference implementation. Its salt is shorter
// than parsePasswordHash allows.
func TestAgreesWithTheReferenceImplementation(t *testing.T) {
	const text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	_, err := parsePasswordHash(text)
	require.ErrorContains(t, err, "a salt of 16 to 64 bytes")
	hash, err := phcEncoding.DecodeString("CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	require.NoError(t, err)
	h := passwordHash{memory: 1 << 16, passes: 2, lanes: 1, salt: []byte("somesalt"), hash: hash}
	require.Equal(t, text, h.String())
	matches, err := newPasswordChecker().matches(t.Context(), h, "password")
	require.NoError(t, err)
	require.True(t, matches)
}

func TestRefusesAPasswordHashThatIsNotStrict(t *testing.T) {
	const salt, hash = "MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
	good := "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + hash
	_, err := parsePasswordHash(good)
	require.NoError(t, err)
	for _, c := range []struct{ name, text, reason string }{
		{"nothing", "", "not a PHC string"},
		{"plain text", "correct horse", "not a PHC string"},
		{"bcrypt", "$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", "not a PHC string"},
		{"argon2i", strings.Replace(good, "argon2id", "argon2i", 1), "not a PHC string"},
		{"another version", strings.Replace(good, "v=19", "v=16", 1), "not a PHC string"},
		{"no version", strings.Replace(good, "v=19$", "", 1), "not a PHC string"},
		{"another order", strings.Replace(good, "m=19456,t=2,p=1", "t=2,m=19456,p=1", 1), "not a PHC string"},
		{"a leading zero", strings.Replace(good, "t=2", "t=02", 1), "not a PHC string"},
		{"a sign", strings.Replace(good, "t=2", "t=+2", 1), "not a PHC string"},
		{"a negative number", strings.Replace(good, "t=2", "t=-2", 1), "not a PHC string"},
		{"a blank", strings.Replace(good, "t=2", "t= 2", 1), "not a PHC string"},
		{"more parameters", strings.Replace(good, "p=1", "p=1,data=AA", 1), "not a PHC string"},
		{"an overflow of m", strings.Replace(good, "m=19456", "m=4294986752", 1), "not a PHC string"},
		{"an overflow of p", strings.Replace(good, "p=1", "p=257", 1), "not a PHC string"},
		{"padding", good + "=", "not a PHC string"},
		{"a field more", good + "$", "not a PHC string"},
		{"a line break", good + "\n", "not a PHC string"},
		{"bits that do not count", good[:len(good)-1] + "Z", "not a PHC string"},
		{"base64url", strings.Replace(good, salt, "_-EyMzQ1Njc4OWFiY2RlZg", 1), "not a PHC string"},
		{"no passes", strings.Replace(good, "t=2", "t=0", 1), "out of bounds"},
		{"no lanes", strings.Replace(good, "p=1", "p=0", 1), "out of bounds"},
		{"memory for a whole machine", strings.Replace(good, "m=19456", "m=4194304", 1), "out of bounds"},
		{"many passes", strings.Replace(good, "t=2", "t=17", 1), "out of bounds"},
		{"many lanes", strings.Replace(good, "p=1", "p=17", 1), "out of bounds"},
		{"little memory", strings.Replace(good, "m=19456,t=2", "m=4096,t=16", 1), "weak argon2id parameters"},
		{"little work", strings.Replace(good, "t=2", "t=1", 1), "weak argon2id parameters"},
		{"a short salt", strings.Replace(good, salt, "MDEyMzQ1Njc", 1), "a salt of 16 to 64 bytes"},
		{"a short hash", strings.Replace(good, hash, salt, 1), "a hash of 32 to 64"},
		{"a long hash", good + strings.Repeat("AAAA", 16), "a hash of 32 to 64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NotEqual(t, good, c.text)
			_, err := parsePasswordHash(c.text)
			require.ErrorContains(t, err, c.reason)
		})
	}
}

func TestTheGateLetsAFewPasswordsThroughAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPasswordChecker()
		hold, running := make(chan struct{}), make(chan struct{}, 100)
		g.derive = func([]byte, []byte, uint32, uint32, uint8, uint32) []byte {
			running <- struct{}{}
			<-hold
			return nil
		}
		results := make(chan error, 100)
		ask := func(ctx context.Context) {
			_, err := g.matches(ctx, passwordHash{}, "x")
			results <- err
		}
		for range cap(g.slots) {
			go ask(t.Context())
		}
		synctest.Wait()
		require.Len(t, running, cap(g.slots))

		go ask(t.Context()) // gives up after patience
		impatient, cancel := context.WithCancel(t.Context())
		go ask(impatient)
		cancel()
		for range 2 {
			require.ErrorIs(t, <-results, jwtauth.ErrUnavailable)
		}
		require.Len(t, running, cap(g.slots), "more passwords are checked than there are slots")

		go ask(t.Context()) // gets the next free slot
		synctest.Wait()
		close(hold)
		for range cap(g.slots) + 1 {
			require.NoError(t, <-results)
		}
	})
}
