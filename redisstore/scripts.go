package redisstore

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/lib.lua
	lib string
	//go:embed lua/log.lua
	logLib string
	//go:embed lua/rows.lua
	rowsLib string
	//go:embed lua/create.lua
	createSource string
	//go:embed lua/advance.lua
	advanceSource string
	//go:embed lua/delete.lua
	deleteSource string
	//go:embed lua/list.lua
	listSource string
	//go:embed lua/index.lua
	indexSource string
	//go:embed lua/revoke.lua
	revokeSource string
	//go:embed lua/revoked.lua
	revokedSource string
	//go:embed lua/since.lua
	sinceSource string
)

// The client runs a script by its digest (EVALSHA), and sends the text only if the engine
// does not know the script. All scripts go to masters, including those that only read,
// because a client that may read from replicas does not know that a script only reads.
var (
	createScript  = redis.NewScript(lib + rowsLib + createSource)
	advanceScript = redis.NewScript(lib + rowsLib + advanceSource)
	deleteScript  = redis.NewScript(lib + rowsLib + deleteSource)
	listScript    = redis.NewScript(lib + rowsLib + listSource)
	indexScript   = redis.NewScript(lib + rowsLib + indexSource)
	revokeScript  = redis.NewScript(lib + logLib + revokeSource)
	revokedScript = redis.NewScript(lib + revokedSource)
	sinceScript   = redis.NewScript(lib + logLib + sinceSource)
)
