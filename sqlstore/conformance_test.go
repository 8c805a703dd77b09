package sqlstore_test

import (
	"testing"

	"github.com/jwtauth-go/jwtauth/storetest"
)

func TestTheStoreKeepsItsContracts(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return postgresql(t).store(t) })
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return postgresql(t).store(t) })
	})
	t.Run("PostgreSQL behind a pooler", func(t *testing.T) { // without prepared statements
		simple := func(t *testing.T) database {
			return postgresql(t).setting("default_query_exec_mode", "simple_protocol")
		}
		storetest.Run(t, func(t *testing.T) storetest.Store { return simple(t).store(t) })
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return simple(t).store(t) })
	})
	t.Run("SQLite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return sqlite(t).store(t) })
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return sqlite(t).store(t) })
	})
}
