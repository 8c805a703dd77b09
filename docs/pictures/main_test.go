package main

import (
	"encoding/xml"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePicturesAreThoseThatTheProgramDraws(t *testing.T) {
	for name, draw := range pictures {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, draw(), string(text), "run: cd docs/pictures && go run .")
		decoder := xml.NewDecoder(strings.NewReader(string(text)))
		for {
			if _, err := decoder.Token(); err == io.EOF {
				break
			} else {
				require.NoError(t, err, name)
			}
		}
	}
}
