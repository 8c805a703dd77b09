package redisstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestAStoreComesFromTheEnvironment(t *testing.T) {
	t.Setenv("JWTAUTH_REDIS_URL", engines.RedisURL(t))
	s, err := redisstore.FromEnv(redisstore.Options{Prefix: "env"})
	require.NoError(t, err)
	require.NoError(t, s.Revoke(t.Context(), "a", time.Now().Add(time.Hour)))
	revoked, err := s.IsRevoked(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, revoked)
	require.NoError(t, s.Close())
	_, err = s.IsRevoked(t.Context(), "a")
	require.Error(t, err)
	require.NoError(t, (*redisstore.Store)(nil).Close())
	require.NoError(t, new(redisstore.Store).Close())
}

func TestAWrongEnvironmentIsAnErrorThatNamesTheVariableAndNoPassword(t *testing.T) {
	for value, want := range map[string]string{
		"":                               "JWTAUTH_REDIS_URL is not set",
		"http://x:hunter2@localhost":     "JWTAUTH_REDIS_URL is not the URL of a Redis",
		"redis://x:hunter2@local host:1": "JWTAUTH_REDIS_URL is not the URL of a Redis",
		"redis://:hunter2@localhost/no":  "JWTAUTH_REDIS_URL is not the URL of a Redis",
	} {
		t.Setenv("JWTAUTH_REDIS_URL", value)
		_, err := redisstore.FromEnv(redisstore.Options{})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	t.Setenv("JWTAUTH_REDIS_URL", "redis://localhost:1")
	_, err := redisstore.FromEnv(redisstore.Options{Prefix: "no blanks"})
	require.ErrorContains(t, err, "Prefix")
}
