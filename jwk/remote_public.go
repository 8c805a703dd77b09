package jwk

import (
	"fmt"
	"net/netip"
	"syscall"
)

// refuseUnlessPublic is a function for [net.Dialer.Control]. The dialer calls it with each
// address before it connects, after the name was resolved. A name that resolves to another
// address each time (DNS rebinding) therefore does not help an attacker.
func refuseUnlessPublic(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !isPublic(to.Addr()) {
		return fmt.Errorf("%s is not a public address, which RemoteOptions.PublicOnly refuses", address)
	}
	return nil
}

// isPublic reports whether an address is a unicast address of the internet. It knows the
// registries of special addresses of IANA (RFC 6890). In IPv6, only 2000::/3 has such
// addresses. The translated addresses of NAT64 (64:ff9b::/96, 64:ff9b:1::/48) and the
// IPv4-mapped addresses are outside of it.
func isPublic(a netip.Addr) bool {
	if a.Zone() != "" || a.Is6() && !globalUnicast.Contains(a) {
		return false
	}
	for _, p := range specialPrefixes {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsValid()
}

var globalUnicast = netip.MustParsePrefix("2000::/3")

// specialPrefixes are the prefixes whose addresses are not public. Those of IPv6 lie within
// globalUnicast.
var specialPrefixes = prefixes(
	"0.0.0.0/8",       // this network
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared (RFC 6598)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, with the metadata services of clouds
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast

	"2001::/23",     // protocol assignments, with Teredo and ORCHID
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4
	"3fff::/20",     // documentation
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}
