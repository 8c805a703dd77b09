package strictjson

// Eight bytes are read at once if there are as many, as a word with the first one
// lowest.

// notPlain has bit 7 of each of 8 bytes that is no ASCII, a control character, a
// quotation mark or a backslash; if there is one, the bits above its own say
// nothing.
func notPlain(x uint64) uint64 {
	const each = 0x0101_0101_0101_0101
	// '"' with another bit 1 is a blank, and no byte above that becomes less.
	aboveBlank := (x ^ 2*each) + (0x7F-' ')*each
	noBackslash := (x ^ '\\'*each) + 0x7F*each
	return (^(aboveBlank & noBackslash) | x) & (0x80 * each)
}

// load is 8 bytes of a text, the first one lowest.
func load(t string, i int) uint64 {
	return uint64(t[i]) | uint64(t[i+1])<<8 | uint64(t[i+2])<<16 | uint64(t[i+3])<<24 |
		uint64(t[i+4])<<32 | uint64(t[i+5])<<40 | uint64(t[i+6])<<48 | uint64(t[i+7])<<56
}

// areDigits says whether all of 8 bytes are digits: '0' is 0x30, and 6 more than '9'
// is 0x3F.
func areDigits(x uint64) bool {
	const each = 0x0101_0101_0101_0101
	return (x&(0xF0*each))|((x+0x06*each)&(0xF0*each))>>4 == 0x33*each
}

// numberOf is the number of 8 digits, the first one lowest: their pairs, then the
// pairs of those, then both halves.
func numberOf(x uint64) int64 {
	x = x & 0x0F0F_0F0F_0F0F_0F0F * (10<<8 + 1) >> 8
	x = x & 0x00FF_00FF_00FF_00FF * (100<<16 + 1) >> 16
	return int64(x & 0x0000_FFFF_0000_FFFF * (10000<<32 + 1) >> 32)
}
