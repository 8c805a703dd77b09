package jwa_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	mathrand "math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

// rocaModulus is a modulus of the generator of CVE-2017-15361: test 7 of
// Wycheproof's json_web_key_test.json.
const rocaModulus = "AanFpofbj7KjD4Lf-N2hVMKR7yewSyXhhbirIMTGpfYEhZ_lnt5UoK98DnKIgArXGTu3MaW_HhFw16HG" +
	"aTDUHqPrId7fe4r11CqRw09yBFuW79V8sYIwHdzCaWflUI6auImYbVfoN9_nD5n8N8SY9DwXw7mwZM9w" +
	"REPXoDPgOoIWl6q_MPsp7n0zs3Z5ZaiQWOOzl1S9OhwAfSiiOwz6efnXEaxuTEtPd7BjSx7NaFka8Dx9" +
	"U7YqXy2RFj1O9PjyaDGuRh7YXsX3iMUSP_wSyHQg_c_qHRtKUsNSGCT7OZg0hzm2KphtjnayKJvC64vA" +
	"bROBR4Ubg6Bxg9IQVZ-QYyE"

func roca(t *testing.T) *big.Int {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(rocaModulus)
	require.NoError(t, err)
	return new(big.Int).SetBytes(b)
}

func TestROCAIsRecognized(t *testing.T) {
	n := roca(t)
	require.True(t, jwa.HasROCA(n))
	// The form of its primes: a multiple of the product of the small primes, and
	// a power of 65537 modulo that product.
	product := big.NewInt(2)
	for p := int64(3); p < 168; p++ {
		if big.NewInt(p).ProbablyPrime(10) {
			product.Mul(product, big.NewInt(p))
		}
	}
	for range 50 {
		made := big.NewInt(1)
		for range 2 {
			power := new(big.Int).Exp(big.NewInt(65537), big.NewInt(mathrand.Int64()), product)
			factor := new(big.Int).Mul(product, new(big.Int).SetBytes(random(90)))
			made.Mul(made, factor.Add(factor, power))
		}
		require.True(t, jwa.HasROCA(made), "%x", made)
	}
}

func TestROCAIsNotSeenElsewhere(t *testing.T) {
	require.False(t, jwa.HasROCA(rsaKey().N))
	require.False(t, jwa.HasROCA(otherRSAKey().N))
	require.False(t, jwa.HasROCA(new(big.Int).Add(roca(t), big.NewInt(2))))
	require.False(t, jwa.HasROCA(new(big.Int)))
	for range 10_000 {
		n := new(big.Int).SetBytes(random(256))
		require.False(t, jwa.HasROCA(n.SetBit(n, 0, 1)), "%x", n)
	}
}

// TestTheROCAPrimesAreThoseThatTell holds the list, and isPower, against a
// computation by hand.
func TestTheROCAPrimesAreThoseThatTell(t *testing.T) {
	var tell []int64
	for p := int64(3); p < 168; p++ {
		if !big.NewInt(p).ProbablyPrime(10) {
			continue
		}
		powers := map[int64]bool{}
		for x := int64(1); !powers[x]; x = x * 65537 % p {
			powers[x] = true
		}
		if len(powers) < int(p)-1 {
			tell = append(tell, p)
		}
		for r := range p {
			require.Equal(t, powers[r], jwa.IsPower(r, p), "%d modulo %d", r, p)
		}
	}
	require.Equal(t, tell, jwa.ROCAPrimes)
}

func prime(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	require.NoError(t, err)
	return p
}

func product(factors ...*big.Int) *big.Int {
	n := big.NewInt(1)
	for _, f := range factors {
		n.Mul(n, f)
	}
	return n
}

// Whoever can factor the modulus has the private key.
func TestModuliThatAnybodyCanFactorAreRefused(t *testing.T) {
	p := prime(t, 1024)
	next := new(big.Int).Add(p, big.NewInt(2))
	for !next.ProbablyPrime(10) {
		next.Add(next, big.NewInt(2))
	}
	near := new(big.Int).Add(p, new(big.Int).Lsh(big.NewInt(1), 512))
	for !near.ProbablyPrime(10) {
		near.Add(near, big.NewInt(2))
	}
	cube := prime(t, 700)
	for _, c := range []struct {
		name string
		n    *big.Int
		want string
	}{
		{"a prime", prime(t, 2048), "a prime"},
		{"three times a prime", product(big.NewInt(3), prime(t, 2047)), "small factor"},
		{"65521 times a prime", product(big.NewInt(65521), prime(t, 2040)), "small factor"},
		{"a square", product(p, p), "power"},
		{"a cube", product(cube, cube, cube), "power"},
		{"neighbouring primes", product(p, next), "close together"},
		{"primes with the same upper half", product(p, near), "close together"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, alg := range []string{"RS256", "PS512"} {
				require.ErrorContains(t, jwa.Lookup(alg).CheckPublic(&rsa.PublicKey{N: c.n, E: 65537}), c.want)
			}
		})
	}
}

func TestModuliOfGoodKeysAreAccepted(t *testing.T) {
	for _, bits := range []int{1024, 1025, 1536} {
		for range 3 {
			require.NoError(t, jwa.CheckModulus(product(prime(t, bits), prime(t, bits))))
		}
	}
	require.NoError(t, jwa.CheckModulus(product(prime(t, 700), prime(t, 700), prime(t, 700))), "three primes")
	require.NoError(t, jwa.CheckModulus(product(prime(t, 1000), prime(t, 1048))), "primes of different sizes")
}

func BenchmarkCheckModulus(b *testing.B) {
	for _, bits := range []int{2048, 4096, 8192} {
		n := modulus(bits)
		b.Run(strconv.Itoa(bits), func(b *testing.B) {
			for b.Loop() {
				if err := jwa.CheckNewModulus(n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Only moduli that were accepted are remembered, and only so many.
func TestWhatIsRefusedIsNotRemembered(t *testing.T) {
	p := prime(t, 2048)
	for range 2 {
		require.Error(t, jwa.CheckModulus(p))
	}
	good := modulus(2048)
	for range 2 {
		require.NoError(t, jwa.CheckModulus(good))
	}
	require.Error(t, jwa.CheckModulus(new(big.Int).Mul(good, big.NewInt(3))))
	require.LessOrEqual(t, jwa.Remembered(2000), 1024)
}
