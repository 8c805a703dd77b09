package guessable

import (
	"bytes"
	_ "embed"
	"strings"
	"unicode"
)

//go:embed words.txt
var wordsText string

// words and shortWords are the words that occur in sample secrets. A word of at least
// minAnywhere letters counts anywhere in a text. A shorter word counts only if no letter is
// next to it.
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
	// In a sentence, words and runs (see minRun) cover at least minLetters characters.
	// Words and runs must also cover at least half of its characters, not counting blanks.
	minLetters = 12
)

// isSentence reports whether text consists of words of sample secrets, with or without
// blanks. An example is "change this secret in production".
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
	// Dynamic programming: most[i] is the largest number of bytes of lowered[:i] that words
	// and runs can cover.
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

// runBefore returns the length of the longest run that ends before position end. In a run,
// each byte is one more than the byte before it, or each is one less, or all are equal.
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
