package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheStoreIsAURL(t *testing.T) {
	for address, want := range map[string]string{
		"":                                 "-store: a URL redis://… or postgres://… is expected",
		"127.0.0.1:6379":                   "-store: a URL redis://… or postgres://… is expected",
		"mysql://u:secret@h/d":             "-store: a URL redis://… or postgres://… is expected",
		"redis://u:secret@127.0.0.1:x":     "-store: this URL is not one of Redis",
		"rediss://u:secret@127.0.0.1/zero": "-store: this URL is not one of Redis",
		"postgres://u:secret@127.0.0.1:x/": "invalid port",
	} {
		err := run(t.Context(), "127.0.0.1:0", address, t.TempDir(), io.Discard)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
}
