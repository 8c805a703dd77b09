package jwa

var (
	AppendASN1 = appendASN1
	AppendRaw  = appendRaw
	HasROCA    = hasROCA
	IsPower    = isPower
	ROCAPrimes = rocaPrimes
	Published  = published
)

const MaxASN1 = maxASN1
