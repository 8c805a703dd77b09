package guessable

import (
	"bytes"
	_ "embed"
	"strings"
	"unicode"
)

//go:embed words.txt
var wordsText string

// The words that sample secrets are made of. Those of at least minAnywhere letters
// count wherever they stand, the shorter ones only if no letter stands beside them.
var words, shortWords = func() (long, short map[string]bool) {
	long, short = make(map[string]bool), make(map[string]bool)
	for word := range strings.FieldsSeq(wordsText) {
		if len(word) >= minAnywhere {
			long[word] = true
		} else {
			short[word] = true
		}
	}
	return long, short
}()

const (
	minAnywhere = 4
	maxWord     = 16
	// A sentence has at least minLetters letters in such words and in runs, and they are
	// at least half of it, blanks aside.
	minLetters = 12
)

// isSentence reports whether text is made of the words of sample secrets: "change this
// secret in production", also without blanks.
func isSentence(text []byte) bool {
	lowered := bytes.ToLower(text)
	isLetter := func(c byte) bool { return c >= 'a' && c <= 'z' }
	symbols := 0
	for _, c := range text {
		if c >= 0x80 || c < ' ' && !unicode.IsSpace(rune(c)) {
			return false // not a text in English
		}
		if !unicode.IsSpace(rune(c)) {
			symbols++
		}
	}
	// most[i] is the greatest number of bytes of lowered[:i] that words and runs cover.
	most := make([]int, len(lowered)+1)
	for end := 1; end <= len(lowered); end++ {
		most[end] = most[end-1]
		for size := 1; size <= min(end, maxWord); size++ {
			start := end - size
			if !isLetter(lowered[start]) {
				break
			}
			stands := (start == 0 || !isLetter(lowered[start-1])) && (end == len(lowered) || !isLetter(lowered[end]))
			if words[string(lowered[start:end])] || stands && shortWords[string(lowered[start:end])] {
				most[end] = max(most[end], most[start]+size)
			}
		}
		if size := runBefore(lowered, end); size >= minRun {
			most[end] = max(most[end], most[end-size]+size)
		}
	}
	covered := most[len(lowered)]
	return covered >= minLetters && 2*covered >= symbols
}

// minRun is the least length of a run such as 123456, fedcba or aaaaaa.
const minRun = 6

// runBefore returns the length of the longest run that ends at end: bytes that grow by
// one, fall by one or stay the same.
func runBefore(text []byte, end int) int {
	size := min(end, 2)
	if size < 2 {
		return size
	}
	step := text[end-1] - text[end-2]
	if step != 0 && step != 1 && step != 0xFF {
		return 1
	}
	for size < end && text[end-size]-text[end-size-1] == step {
		size++
	}
	return size
}
