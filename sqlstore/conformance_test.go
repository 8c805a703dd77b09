package sqlstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/storetest"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestTheStoreKeepsItsContracts(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		storetest.Run(t, emptied(t, postgresql(t)))
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return postgresql(t).store(t) })
	})
	t.Run("MariaDB", func(t *testing.T) {
		storetest.Run(t, emptied(t, mariadb(t)))
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return mariadb(t).store(t) })
	})
	t.Run("MariaDB, with prepared statements", func(t *testing.T) {
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return prepared(mariadb(t)).store(t) })
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
				storetest.Run(t, emptied(t, behind(t, pooler, postgresql(t), mode)))
			}
		})
	}
	t.Run("SQLite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return sqliteWithoutSync(t) })
		storetest.RunLog(t, func(t *testing.T) storetest.LogStore { return sqliteWithoutSync(t) })
	})
}

// prepared returns a database of MariaDB whose driver prepares each statement.
func prepared(e database) database { return e.setting("interpolateParams", "false") } // the last setting counts

// emptied returns a function that empties one database and returns its store. That is much
// faster than a new database.
func emptied(t *testing.T, e database) func(t *testing.T) storetest.Store {
	t.Helper()
	store, db := e.store(t), e.open(t)
	return func(t *testing.T) storetest.Store {
		remove := "TRUNCATE "
		if e.dialect == sqlstore.MySQL {
			remove = "DELETE FROM " // faster, for tables that are small
		}
		for _, table := range []string{"jwtauth_sessions", "jwtauth_revocations"} {
			_, err := db.ExecContext(t.Context(), remove+table)
			require.NoError(t, err)
		}
		return store
	}
}
