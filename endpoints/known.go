package endpoints

import (
	"slices"

	"github.com/jwtauth-go/jwtauth/internal/sketch"
)

// nameHash is the keyed hash of the name of an account.
type nameHash [16]byte

// maxNetworks is how many networks of an account are remembered.
const maxNetworks = 8

// knownNetwork is a network from which an account has logged in.
type knownNetwork struct {
	network  uint64        // the hash of the network
	attempts sketch.Window // for this account from this network, by their costs
}

// knownNetworks remembers the networks from which accounts have logged in. It is an
// approximate LRU cache of two generations: when the young one is full, it becomes the
// old one, and the old one is dropped. Only a login moves an account to the young one. It
// is not safe for concurrent use.
type knownNetworks struct {
	perGeneration int
	young, old    map[nameHash][]*knownNetwork // the networks used last come first
}

func newKnownNetworks(maxAccounts int) knownNetworks {
	return knownNetworks{perGeneration: maxAccounts / 2, young: make(map[nameHash][]*knownNetwork)}
}

// find returns the entry of a network of an account, or nil.
func (k *knownNetworks) find(name nameHash, network uint64) *knownNetwork {
	list, ok := k.young[name]
	if !ok {
		list = k.old[name]
	}
	for _, n := range list {
		if n.network == network {
			return n
		}
	}
	return nil
}

// remember puts a network in front of those of an account. If another login has
// remembered the same network at the same time, the older entry stays.
func (k *knownNetworks) remember(name nameHash, n *knownNetwork) {
	list, ok := k.young[name]
	if !ok {
		list = k.old[name]
		delete(k.old, name)
		if len(k.young) >= k.perGeneration {
			k.young, k.old = make(map[nameHash][]*knownNetwork), k.young
		}
	}
	i := slices.IndexFunc(list, func(other *knownNetwork) bool { return other.network == n.network })
	switch {
	case i >= 0:
		n = list[i]
		list = slices.Delete(list, i, i+1)
	case len(list) == maxNetworks:
		list = list[:maxNetworks-1]
	}
	k.young[name] = slices.Insert(list, 0, n)
}
