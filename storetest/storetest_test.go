package storetest_test

import (
	"slices"
	"testing"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/storetest"
)

func newMemory() *jwtauth.MemoryStore { return jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{}) }

func TestAMemoryStoreKeepsItsContracts(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return newMemory() })
}

func TestASoundLogKeepsItsContract(t *testing.T) {
	storetest.RunLog(t, func(*testing.T) storetest.LogStore { return newLog() })
	storetest.Run(t, func(*testing.T) storetest.Store { return newLog() })
}

func TestAStoreThatBreaksItsContractFails(t *testing.T) {
	for _, b := range slices.Concat(brokenStores, brokenSteps, brokenLimits, brokenPages) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			store := newBent()
			b.bend(store)
			requireCaught(t, b.rule, storetest.Judge(t.Context(), b.rule, store))
		})
	}
}

func TestALogThatBreaksItsContractFails(t *testing.T) {
	for _, b := range brokenLogs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			log := newLog()
			b.bend(log)
			requireCaught(t, b.rule, storetest.JudgeLog(t.Context(), b.rule, log))
		})
	}
}

func requireCaught(t *testing.T, rule string, said []string) {
	t.Helper()
	if len(said) == 0 {
		t.Fatalf("the rule %q holds", rule)
	}
	t.Log(said[0])
}
