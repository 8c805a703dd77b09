package endpoints

import (
	"slices"

	"github.com/jwtauth-go/jwtauth/internal/sketch"
)

// nameHash is the keyed hash of the name of an account.
type nameHash [16]byte

// maxNetworks is the maximum number of remembered networks of an account.
const maxNetworks = 8

// knownNetwork is a network from which an account has logged in.
type knownNetwork struct {
	network  uint64        // the hash of the network
	attempts sketch.Window // the costs of attempts for this account from this network
}

// knownNetworks remembers the networks from which accounts have logged in. It is an
// approximate LRU cache with two generations of accounts. When the young generation is
// full, it becomes the old generation, and the previous old generation is dropped. A
// successful login moves its account to the young generation. It is not safe for
// concurrent use.
type knownNetworks struct {
	perGeneration int                          // the maximum number of accounts in a generation
	young, old    map[nameHash][]*knownNetwork // most recently used networks first
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

// moveToFront makes n the most recently used network of an account. If the account has an
// entry for the same network, because of another login at the same time, that entry stays
// and n is dropped.
func (k *knownNetworks) moveToFront(name nameHash, n *knownNetwork) {
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
