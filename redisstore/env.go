package redisstore

import (
	"errors"
	"os"

	"github.com/redis/go-redis/v9"
)

// urlVariable is the environment variable of FromEnv.
const urlVariable = "JWTAUTH_REDIS_URL"

// FromEnv makes a Store of the server that the environment variable JWTAUTH_REDIS_URL names, such as
// rediss://user:password@redis.example.com:6380/0. The options of the client may stand in its query;
// see redis.ParseURL. It is for one server: for a cluster or sentinels, use [New]. FromEnv sends
// nothing to the engine; see [Store.Check]. Errors name the variable and not its value. [Store.Close]
// closes the client.
func FromEnv(o Options) (*Store, error) {
	address := os.Getenv(urlVariable)
	if address == "" {
		return nil, errors.New("redisstore: the environment variable " + urlVariable + " is not set: a URL is expected, such as redis://localhost:6379/0")
	}
	parsed, err := redis.ParseURL(address)
	if err != nil { // err may have the password
		return nil, errors.New("redisstore: the environment variable " + urlVariable + " is not the URL of a Redis, such as redis://localhost:6379/0 or rediss://user:password@host:6380/0")
	}
	parsed.ContextTimeoutEnabled = true
	client := redis.NewClient(parsed)
	s, err := New(client, o)
	if err != nil {
		client.Close()
		return nil, err
	}
	s.owned = client
	return s, nil
}

// Close closes the client of a Store that [FromEnv] made, and does nothing for another Store. After
// that, the methods return errors.
func (s *Store) Close() error {
	if s == nil || s.owned == nil {
		return nil
	}
	return s.owned.Close()
}
