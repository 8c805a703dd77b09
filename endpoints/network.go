package endpoints

import "net/netip"

// network is a network whose failures are counted together.
type network struct {
	prefix netip.Prefix
	factor uint32 // its limits are this many times the limits of the smallest network
}

// nat64 is the prefix of IPv6 addresses that embed an IPv4 address (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// networksOf returns the networks that contain an address, smallest first. The networks of
// an IPv6 address are a /64, a /56 and a /48. A provider gives one customer a network of
// one of these sizes, and the customer can use any address in it.
func networksOf(addr netip.Addr) []network {
	addr = addr.Unmap()
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	prefixOf := func(bits int, factor uint32) network {
		prefix, _ := addr.Prefix(bits) // no error, since bits is in range; the zone is dropped
		return network{prefix, factor}
	}
	if addr.Is4() {
		return []network{prefixOf(32, 1), prefixOf(24, 4)}
	}
	return []network{prefixOf(64, 1), prefixOf(56, 2), prefixOf(48, 4)}
}
