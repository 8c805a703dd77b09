//go:build go1.28 || goexperiment.jsonv2

// Go 1.27 has encoding/json/v2 unless it is built with GOEXPERIMENT=nojsonv2, Go 1.26 only
// with GOEXPERIMENT=jsonv2.

package jsonv2_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// streams decodes itself, by the interface of encoding/json/v2.
type streams struct {
	Tenant string `json:"tenant"`
	text   string
}

func (s *streams) UnmarshalJSONFrom(d *fixture.JSONDecoder) error {
	v, err := d.ReadValue()
	s.text = string(v)
	return err
}

func TestATypeThatDecodesItselfGetsAllClaims(t *testing.T) {
	w := fixture.New(t)
	text := fixture.Text(t, w.Claims(map[string]any{"tenant": "acme", "other": 1}))
	got, err := jwtauth.ClaimsAs[streams](w.RequireAccepted(w.Sign(text)))
	require.NoError(t, err)
	require.Equal(t, text, got.text)
}
