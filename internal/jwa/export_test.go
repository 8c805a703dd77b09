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
