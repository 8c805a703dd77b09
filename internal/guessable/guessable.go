// Package guessable finds HMAC secrets that are long enough, but easy to guess: secrets from
// public documents, sentences, patterns, and public keys that are used as secrets.
//
// It accepts the output of a good generator. If a secret has at least 32 characters and at
// least 120 random bits, in any encoding, the probability of a refusal is below 10⁻⁹. The
// exception is a random secret that looks like an RSA modulus; see publicKey.
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

// Check returns an error if a secret is guessable. The error says why, and repeats no part
// of the secret.
func Check(secret []byte) error {
	if err := publicKey(secret); err != nil {
		return err
	}
	if isPublished(secret) {
		return fmt.Errorf("this secret appears in public documents; %w", errGenerate)
	}
	// A person may have typed the secret, or may have typed a text and encoded it.
	for _, text := range append(decodings(secret), secret) {
		switch {
		case isSentence(text):
			return fmt.Errorf("this secret consists of words that are common in sample secrets; %w", errGenerate)
		case repeats(text) || isSequence(text):
			return fmt.Errorf("the bytes of this secret follow a pattern; %w", errGenerate)
		}
	}
	if entropy(secret) < minEntropy {
		return fmt.Errorf("this secret has too few different bytes; %w", errGenerate)
	}
	return nil
}

// CheckNoKey returns an error if a secret is a key of another kind, such as a public key. Everybody
// can know a public key, so it is not even a weak secret.
func CheckNoKey(secret []byte) error { return publicKey(secret) }

// decodings decodes secret as hexadecimal, base64 and base64url, and returns the results. It
// leaves out results that are shorter than least, since they are too short to judge.
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

// repeats reports whether text consists of one part that occurs at least twice in a row. The
// last repetition may be incomplete. Before or after the repetitions there may be other bytes,
// but fewer than the part has. If the part has one byte, one other byte is allowed.
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

// minSteps is the smallest accepted number of different steps. A step is the difference
// between two neighbouring bytes. The alphabet, for example, has a single step.
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

// minEntropy is the smallest accepted entropy of a secret, in bits. The entropy of 32 random
// hexadecimal digits is 115 on average. The probability that it is below 76 is below 10⁻⁹.
const minEntropy = 76

// entropy estimates the entropy of a secret in bits, from the frequencies of its bytes. It
// is the Shannon entropy of a byte, times the length.
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
