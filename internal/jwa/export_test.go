package jwa

var (
	AppendASN1      = appendASN1
	AppendRaw       = appendRaw
	CheckNewModulus = checkNewModulus
	HasROCA         = hasROCA
	IsPower         = isPower
	ROCAPrimes      = rocaPrimes
)

const MaxASN1 = maxASN1

// Remembered adds n sums to a memory of moduli, and returns how many it keeps.
func Remembered(n int) int {
	m := moduli{sums: make(map[[32]byte]bool)}
	for i := range n {
		m.add([32]byte{byte(i), byte(i >> 8)})
	}
	return len(m.sums)
}
