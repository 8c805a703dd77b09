package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheStoreIsAURL(t *testing.T) {
	for address, want := range map[string]string{
		"":                                 `-store: "" is not a URL: redis://… or postgres://… is expected`,
		"foo":                              `-store: "foo" is not a URL: redis://… or postgres://… is expected`,
		"127.0.0.1:6379":                   `-store: "127.0.0.1:6379" is not a URL: redis://… or postgres://… is expected`,
		"mysql://u:secret@h/d":             `-store: "mysql" is not the scheme of a store: redis://… or postgres://… is expected`,
		"redis://u:secret@127.0.0.1:x":     "-store: redis://USER:PASSWORD@HOST:PORT/NUMBER is expected",
		"rediss://u:secret@127.0.0.1/zero": "-store: redis://USER:PASSWORD@HOST:PORT/NUMBER is expected",
		"u:secret@h":                       "-store: this is not a URL: redis://… or postgres://… is expected",
		"redis://u:secret@127.0.0.1:1":     "connection refused: an engine that runs at this address is expected",
		"postgres://u:secret@127.0.0.1:1/": "an engine that runs at this address is expected",
		"postgres://u:secret@127.0.0.1:x/": "invalid port",
	} {
		err := run(t.Context(), "127.0.0.1:0", address, t.TempDir(), io.Discard)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestAMissingDirectoryIsOneLineThatTeaches(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	err := run(t.Context(), "127.0.0.1:0", "", dir, io.Discard)
	require.ErrorContains(t, err, "-key: ")
	require.ErrorContains(t, err, `mkdir -m 700 "`+dir+`"`)
	require.NotContains(t, err.Error(), "\n")
}
