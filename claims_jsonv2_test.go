//go:build goexperiment.jsonv2

package jwtauth_test

import (
	"encoding/json/jsontext"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

type streams struct {
	Tenant string `json:"tenant"`
	text   string
}

func (s *streams) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	s.text = string(v)
	return err
}

// TestATypeThatDecodesItselfGetsAllClaims: also in the manner of encoding/json/v2.
func TestATypeThatDecodesItselfGetsAllClaims(t *testing.T) {
	w := newWorld(t)
	text := text(t, w.claims(map[string]any{"tenant": "acme", "other": 1}))
	got, err := jwtauth.ClaimsAs[streams](w.requireAccepted(w.sign(text)))
	require.NoError(t, err)
	require.Equal(t, text, got.text)
}
