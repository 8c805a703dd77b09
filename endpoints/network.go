package endpoints

import "net/netip"

// network is a network whose failures count together, and how many times more than the
// narrowest one it may have.
type network struct {
	prefix netip.Prefix
	factor uint32
}

// nat64 is the network in which translators embed IPv4 addresses (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// networksOf returns the networks around an address, the narrowest first. A provider
// gives one customer a /64 to /48 of IPv6, in which the customer chooses any address.
func networksOf(addr netip.Addr) []network {
	addr = addr.Unmap()
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	around := func(bits int, factor uint32) network {
		prefix, _ := addr.Prefix(bits) // without the zone; the address has as many bits: no error
		return network{prefix, factor}
	}
	if addr.Is4() {
		return []network{around(32, 1), around(24, 4)}
	}
	return []network{around(64, 1), around(56, 2), around(48, 4)}
}
