package jwa

import "math/big"

// rocaPrimes are the primes below 168 whose residues 65537 does not generate
// all of.
var rocaPrimes = []int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157}

// hasROCA recognizes the keys of the generator of CVE-2017-15361: their modulus
// is a power of 65537 modulo every small prime. A random modulus is so once in
// 200 million.
func hasROCA(n *big.Int) bool {
	var residue big.Int
	for _, p := range rocaPrimes {
		if !isPower(residue.Mod(n, big.NewInt(p)).Int64(), p) {
			return false
		}
	}
	return true
}

// isPower says whether r is a power of 65537 modulo p.
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
