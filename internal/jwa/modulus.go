package jwa

import (
	"crypto/sha256"
	"errors"
	"math/big"
	"sync"
)

var big1 = big.NewInt(1)

// CheckModulus returns an error for an RSA modulus that is easy to factor or is a prime.
// Anybody can compute the private key of such a modulus from the public key.
func CheckModulus(n *big.Int) error {
	sum := sha256.Sum256(n.Bytes())
	if accepted.has(sum) {
		return nil
	}
	if err := checkNewModulus(n); err != nil {
		return err
	}
	accepted.add(sum)
	return nil
}

// accepted is a cache of moduli that have passed the check. A check takes milliseconds, and
// the same keys come with every fetch of a JWK Set and every reading of a key source.
var accepted = moduli{sums: make(map[[sha256.Size]byte]bool)}

type moduli struct {
	mu   sync.Mutex
	sums map[[sha256.Size]byte]bool
}

// maxAccepted is the size of the cache. When the cache is full, it is cleared.
const maxAccepted = 1024

func (m *moduli) has(sum [sha256.Size]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sums[sum]
}

func (m *moduli) add(sum [sha256.Size]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sums) >= maxAccepted {
		clear(m.sums)
	}
	m.sums[sum] = true
}

func checkNewModulus(n *big.Int) error {
	switch {
	case hasROCA(n):
		return errors.New("this RSA key comes from a generator whose keys can be factored (ROCA, CVE-2017-15361)")
	case new(big.Int).GCD(nil, nil, new(big.Int).Mod(smallPrimes(), n), n).Cmp(big1) != 0:
		return errors.New("the modulus of this RSA key has a small factor")
	case isPerfectPower(n):
		return errors.New("the modulus of this RSA key is a power of one number")
	case hasNearFactors(n):
		return errors.New("the two primes of this RSA key lie so close together that its modulus can be factored")
	case n.ProbablyPrime(0):
		return errors.New("the modulus of this RSA key is a prime, and must be a product of two")
	}
	return nil
}

// smallPrimes returns the product of the primes below 2^16.
var smallPrimes = sync.OnceValue(func() *big.Int {
	const limit = 1 << 16
	var isComposite [limit]bool
	product := big.NewInt(2)
	var batch, prime big.Int
	batch.SetInt64(1)
	for p := 3; p < limit; p += 2 {
		if isComposite[p] {
			continue
		}
		for multiple := p * p; multiple < limit; multiple += 2 * p {
			isComposite[multiple] = true
		}
		if batch.Mul(&batch, prime.SetInt64(int64(p))); batch.BitLen() > 4096 {
			product.Mul(product, &batch)
			batch.SetInt64(1)
		}
	}
	return product.Mul(product, &batch)
})

// isPerfectPower reports whether n is the k-th power of a number, for a prime k up to 13.
func isPerfectPower(n *big.Int) bool {
	for _, k := range []int64{2, 3, 5, 7, 11, 13} {
		exponent := big.NewInt(k)
		if root(n, k).Exp(root(n, k), exponent, nil).Cmp(n) == 0 {
			return true
		}
	}
	return false
}

// root returns the k-th root of n, rounded down (Newton's method).
func root(n *big.Int, k int64) *big.Int {
	if k == 2 {
		return new(big.Int).Sqrt(n)
	}
	x := new(big.Int).Lsh(big1, uint(int64(n.BitLen())/k+1)) // an upper bound of the root
	exponent, degree := big.NewInt(k-1), big.NewInt(k)
	var power, next big.Int
	for {
		power.Exp(x, exponent, nil)
		next.Quo(n, &power)
		power.Mul(x, exponent)
		next.Add(&next, &power).Quo(&next, degree)
		if next.Cmp(x) >= 0 {
			return x
		}
		x.Set(&next)
	}
}

// fermatSteps is the number of steps of Fermat's factorization that CheckModulus tries. The
// first step finds two neighbouring primes. For two random primes, no feasible number of
// steps is enough.
const fermatSteps = 100

// hasNearFactors runs the first steps of Fermat's factorization, which searches for a and b
// with n = a²-b².
func hasNearFactors(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	a.Add(a, big1)
	rest := new(big.Int).Mul(a, a)
	rest.Sub(rest, n)
	var r, square, step big.Int
	for range fermatSteps {
		// Modulo 16, every square is 0, 1, 4 or 9. This excludes most numbers cheaply.
		if low := rest.Bits(); len(low) == 0 || 1<<(low[0]&15)&(1<<0|1<<1|1<<4|1<<9) != 0 {
			if r.Sqrt(rest); square.Mul(&r, &r).Cmp(rest) == 0 {
				return true
			}
		}
		rest.Add(rest, step.Lsh(a, 1)).Add(rest, big1) // (a+1)² - n
		a.Add(a, big1)
	}
	return false
}

// rocaPrimes are the primes p below 168 for which not every residue is a power of 65537
// modulo p.
var rocaPrimes = []int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157}

// hasROCA reports whether n comes from the generator of CVE-2017-15361: its moduli are
// powers of 65537 modulo every small prime. For a random modulus, the probability of that
// is 1 in 200 million.
func hasROCA(n *big.Int) bool {
	var residue big.Int
	for _, p := range rocaPrimes {
		if !isPower(residue.Mod(n, big.NewInt(p)).Int64(), p) {
			return false
		}
	}
	return true
}

// isPower reports whether r is a power of 65537 modulo p.
func isPower(r, p int64) bool {
	for x := 65537 % p; ; x = x * 65537 % p {
		if x == r {
			return true
		}
		if x == 1 {
			return false
		}
	}
}
