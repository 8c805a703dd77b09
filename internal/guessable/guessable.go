// Package guessable finds the secrets that are long enough for HMAC and that somebody
// can guess all the same: those that stand in public documents, those that are
// a sentence or a pattern, and those that are no secret but a public key.
//
// What a good generator makes passes: of the secrets that are 32 characters or longer and
// have 120 random bits or more, in any encoding, fewer than one in 10⁹ is refused. The
// exception is a text or a number that has the form of an RSA modulus; see publicKey.
package guessable

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
)

var errGenerate = errors.New("generate one instead: openssl rand -base64 64")

// Check returns why a secret is guessable, or nil. The error repeats nothing of the
// secret.
func Check(secret []byte) error {
	if err := publicKey(secret); err != nil {
		return err
	}
	if isPublished(secret) {
		return fmt.Errorf("this secret stands in public documents; %w", errGenerate)
	}
	// The text that somebody typed may stand in the secret as it is or encoded.
	for _, text := range append(decodings(secret), secret) {
		switch {
		case isSentence(text):
			return fmt.Errorf("this secret is made of words that samples of secrets are made of; %w", errGenerate)
		case repeats(text) || isSequence(text):
			return fmt.Errorf("the bytes of this secret follow a pattern; %w", errGenerate)
		}
	}
	if entropy(secret) < minEntropy {
		return fmt.Errorf("this secret has too few different bytes; %w", errGenerate)
	}
	return nil
}

// decodings returns what secret says in base64, base64url and hexadecimal. With little
// in it, a text that is decoded is no text, and is left out.
func decodings(secret []byte) (texts [][]byte) {
	const least = 15
	text := strings.TrimSpace(string(secret))
	add := func(decoded []byte, err error) {
		if err == nil && len(decoded) >= least {
			texts = append(texts, decoded)
		}
	}
	add(hex.DecodeString(text))
	text = strings.TrimRight(text, "=")
	add(base64.RawStdEncoding.DecodeString(text))
	if strings.ContainsAny(text, "-_") {
		add(base64.RawURLEncoding.DecodeString(text))
	}
	return texts
}

// repeats reports whether text is one part again and again, at least twice. The last
// part may be cut off, and before the first or behind the last may stand something
// shorter than the part.
func repeats(text []byte) bool {
	reverse := bytes.Clone(text)
	for i, c := range text {
		reverse[len(text)-1-i] = c
	}
	return repeatsUpToTail(text) || repeatsUpToTail(reverse)
}

func repeatsUpToTail(text []byte) bool {
	for period := 1; period <= len(text)/2; period++ {
		same := period
		for same < len(text) && text[same] == text[same-period] {
			same++
		}
		if same >= 2*period && len(text)-same < max(period, 2) {
			return true
		}
	}
	return false
}

// minSteps is the least number of different steps from one byte to the next. Fewer
// mean a sequence, such as the alphabet.
const minSteps = 8

func isSequence(text []byte) bool {
	var isStep [256]bool
	steps := 0
	for i := 1; i < len(text); i++ {
		if step := text[i] - text[i-1]; !isStep[step] {
			isStep[step] = true
			steps++
		}
	}
	return steps < minSteps
}

// minEntropy is in bits. 32 hexadecimal digits that are chosen by chance have 115 on
// average; they have fewer than 76 less than once in 10⁹ times.
const minEntropy = 76

// entropy estimates how many bits of chance are in a secret, from how often each byte
// stands in it (Shannon's entropy of the sample, times its length).
func entropy(secret []byte) float64 {
	var count [256]int
	for _, c := range secret {
		count[c]++
	}
	bits := 0.0
	for _, n := range count {
		if n > 0 {
			bits -= float64(n) * math.Log2(float64(n)/float64(len(secret)))
		}
	}
	return bits
}
