package sqlstore_test

import (
	"testing"

	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/storetest"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestTheStoreKeepsItsContracts(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return postgresql(t).store(t) })
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return postgresql(t).store(t) })
	})
	for mode, works := range execModes {
		if !works {
			continue
		}
		t.Run("PostgreSQL behind a pooler in transaction mode, "+mode, func(t *testing.T) {
			pooler := engines.PgBouncer(t, hostOf(t, postgresql(t)), "pool_mode = transaction", "max_client_conn = 1000")
			pooled := func(t *testing.T) *sqlstore.Store { return behind(t, pooler, postgresql(t), mode).store(t) }
			storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return pooled(t) })
			if mode == "cache_describe" { // the one that Check recommends first
				storetest.Run(t, func(t *testing.T) storetest.Store { return pooled(t) })
			}
		})
	}
	t.Run("SQLite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return sqlite(t).store(t) })
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return sqlite(t).store(t) })
	})
}
