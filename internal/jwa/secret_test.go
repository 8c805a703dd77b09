package jwa_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

func TestASecretIsAtLeastAsLongAsTheHash(t *testing.T) {
	for name, size := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		a := jwa.Lookup(name)
		for _, n := range []int{0, 1, size / 2, size - 1} {
			require.ErrorContains(t, a.CheckSecret(make([]byte, n)), "at least", "%s with %d bytes", name, n)
		}
		require.Error(t, a.CheckSecret(nil))
		for _, n := range []int{size, size + 1, 1000} {
			require.NoError(t, a.CheckSecret(make([]byte, n)), "%s with %d bytes", name, n)
		}
	}
	for _, name := range names[3:] {
		require.ErrorContains(t, jwa.Lookup(name).CheckSecret(random(64)), "this one is a secret", name)
	}
}
