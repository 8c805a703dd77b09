package strictjson

// The functions in this file handle 8 bytes at once, as a word (SWAR). The first byte of
// the text is the lowest byte of the word.

// nonPlainBytes finds the bytes of a word that are control characters, quotation marks,
// backslashes or not ASCII. It sets bit 7 of each such byte in the result. Only the lowest
// set bit is reliable: bytes above the first match may be reported wrongly.
func nonPlainBytes(x uint64) uint64 {
	const ones = 0x0101_0101_0101_0101
	// Flipping bit 1 turns a quotation mark into 0x20. Control characters stay below 0x20,
	// and all other bytes stay above it, so one comparison finds both kinds.
	aboveBlank := (x ^ 2*ones) + (0x7F-' ')*ones
	noBackslash := (x ^ '\\'*ones) + 0x7F*ones
	return (^(aboveBlank & noBackslash) | x) & (0x80 * ones)
}

// load8 returns the 8 bytes of t from position i on, in one word.
func load8(t string, i int) uint64 {
	return uint64(t[i]) | uint64(t[i+1])<<8 | uint64(t[i+2])<<16 | uint64(t[i+3])<<24 |
		uint64(t[i+4])<<32 | uint64(t[i+5])<<40 | uint64(t[i+6])<<48 | uint64(t[i+7])<<56
}

// areDigits reports whether all 8 bytes of a word are digits. The high half of a digit is
// 3 ('0' is 0x30), and stays 3 after adding 6 ('9' + 6 is 0x3F).
func areDigits(x uint64) bool {
	const ones = 0x0101_0101_0101_0101
	return (x&(0xF0*ones))|((x+0x06*ones)&(0xF0*ones))>>4 == 0x33*ones
}

// parseDigits returns the number that 8 digits represent. It joins neighbours in three
// steps: digits to pairs, pairs to groups of four, and the two groups to the number.
func parseDigits(x uint64) int64 {
	x = x & 0x0F0F_0F0F_0F0F_0F0F * (10<<8 + 1) >> 8
	x = x & 0x00FF_00FF_00FF_00FF * (100<<16 + 1) >> 16
	return int64(x & 0x0000_FFFF_0000_FFFF * (10000<<32 + 1) >> 32)
}
