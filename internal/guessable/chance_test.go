package guessable

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxRefused is how often a secret that a good generator made may be refused.
const maxRefused = 1e-9

// logFactorial returns the logarithm of n!.
func logFactorial(n int) float64 {
	l, _ := math.Lgamma(float64(n) + 1)
	return l
}

// lowEntropy returns how probable it is that n symbols of an alphabet that are chosen by
// chance, and the bytes of fixed, have less entropy than minEntropy. It goes through all
// ways in which n can be split into counts.
func lowEntropy(n, alphabet int, fixed string) (probability float64) {
	var counts []int
	var split func(left, largest int)
	split = func(left, largest int) {
		if left == 0 {
			var text []byte
			for i, c := range counts {
				text = append(text, slices.Repeat([]byte{byte(i)}, c)...)
			}
			if entropy(append(text, fixed...)) >= minEntropy {
				return
			}
			// Ways to place the symbols, times ways to pick the symbols for the counts.
			log := logFactorial(n) + logFactorial(alphabet) - logFactorial(alphabet-len(counts)) - float64(n)*math.Log(float64(alphabet))
			same := map[int]int{}
			for _, c := range counts {
				log -= logFactorial(c)
				same[c]++
			}
			for _, m := range same {
				log -= logFactorial(m)
			}
			probability += math.Exp(log)
			return
		}
		for c := min(left, largest); c > 0 && len(counts) < alphabet; c-- {
			counts = append(counts, c)
			split(left-c, c)
			counts = counts[:len(counts)-1]
		}
	}
	split(n, n)
	return probability
}

func TestTheEntropyOfRandomSecretsIsHardlyEverTooLow(t *testing.T) {
	require.Less(t, lowEntropy(32, 16, ""), maxRefused, "32 hexadecimal digits")
	require.Less(t, lowEntropy(30, 16, "----4"), maxRefused, "a UUID")
	require.Less(t, lowEntropy(32, 26, ""), maxRefused, "32 letters")
	require.Less(t, lowEntropy(32, 64, ""), maxRefused, "24 bytes in base64")
	require.Less(t, lowEntropy(32, 256, ""), maxRefused, "32 bytes")
	require.Less(t, lowEntropy(39, 10, ""), maxRefused, "128 bits in decimal")
	require.Greater(t, lowEntropy(32, 4, ""), 0.5, "two bits a symbol are too few: the sum is real")
}

// sentences returns an upper bound of how probable it is that a random text of n symbols
// is a sentence: the expected number of ways to cover enough of it with words. A letter
// of a word stands at a place with the probability letter, for those letters that are in
// the alphabet at all; no letter stands there with the probability gap.
func sentences(n int, alphabet string, letter, gap float64) float64 {
	var chance [maxWord + 1]float64 // that a word of this size ends at a place
	for word := range words {
		if strings.Trim(word, alphabet) == "" {
			chance[len(word)] += math.Pow(letter, float64(len(word)))
		}
	}
	for word := range shortWords {
		if strings.Trim(word, alphabet) == "" {
			chance[len(word)] += math.Pow(letter, float64(len(word))) * gap
		}
	}
	for size := minRun; size <= maxWord; size++ {
		chance[size] += 3 * math.Pow(letter, float64(size-1)) // longer ones are even rarer
	}
	ways := make([][]float64, n+1)
	for i := range ways {
		ways[i] = make([]float64, n+1)
		ways[i][0] = 1
		for k := 1; i > 0 && k <= n; k++ {
			ways[i][k] = ways[i-1][k]
			for size := 1; size <= min(i, k, maxWord); size++ {
				ways[i][k] += chance[size] * ways[i-size][k-size]
			}
		}
	}
	bound := 0.0
	for k := max(minLetters, (n+1)/2); k <= n; k++ {
		bound += ways[n][k]
	}
	return bound
}

func TestRandomTextsAreHardlyEverSentences(t *testing.T) {
	const all = "abcdefghijklmnopqrstuvwxyz"
	for _, n := range []int{32, 36, 43, 44, 64, 86, 88, 128} {
		require.Less(t, sentences(n, all+"0123456789", 2.0/64, 0.2), maxRefused, "%d characters of base64", n)
		require.Less(t, sentences(n, all+"0123456789", 1.0/32, 0.1), maxRefused, "%d characters of base32", n)
		require.Less(t, sentences(n, "abcdef0123456789", 1.0/16, 0.5), maxRefused, "%d hexadecimal digits", n)
		require.Less(t, sentences(n, all, 1.0/26, 0.01), maxRefused, "%d letters", n)
	}
	require.Greater(t, sentences(32, all, 1.0/5, 0.2), 1e-6, "the sum is real")
}

func TestNoWordIsTooLongToBeFound(t *testing.T) {
	for word := range words {
		require.LessOrEqual(t, len(word), maxWord, word)
	}
}
