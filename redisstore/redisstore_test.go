package redisstore_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jwtauth-go/jwtauth/storetest"
)

func TestAStoreKeepsItsContracts(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return newStore(t, client) })
	})
}

func TestALogTellsWhatItWasTold(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return newStore(t, client) })
	})
}
