package jwtauth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func TestRevocationIDsAreAWireFormat(t *testing.T) {
	for _, test := range []struct{ issuer, value, token, session string }{
		{"https://issuer.example", "token-1", "p4uclcAm90JUynny6nWifw", "Jpshq-2DeNIxBjpfhPOMVw"},
		{"https://issuer.example", "", "qdxb-sptFgHHXSMvW8-Y6w", "9u8ogn2V1W3KsMV_90n7aQ"},
		{"", "", "QGogK4ehtjlBfaTS5dIJCw", "nRrXlTP_R_zqmjpiUMwAdw"},
		{"a", "bc", "et9hlna-cg4N735NAfmwsQ", "42XG8U8AyYC-SKWu97vDDg"},
		{"ab", "c", "Rv0WfJ6W0dQZAZFIibVZhQ", "RO3jlR1fHmn5K9cm09bnvA"},
		{"https://auth.example.com/tenant/ü", "jti with spaces, 'quotes' and \x00", "8qqt6-9aXcE6B1ogym_dZA", "nPB5SMdbXzjyulUONEEAtQ"},
		{"https://issuer.example", strings.Repeat("x", 300), "jbnP3ezegstRcoZMTGAd3Q", "DOcbC0Bgb6QJtWGFcgcbQw"},
	} {
		require.Equal(t, test.token, jwtauth.TokenID(test.issuer, test.value))
		require.Equal(t, test.session, jwtauth.SessionID(test.issuer, test.value))
	}
}

func TestATokenAndASessionOfOneNameDoNotMeet(t *testing.T) {
	w := newWorld(t)
	plain := w.sign(w.claims(map[string]any{"jti": "x"}))
	inSession := w.sign(w.claims(map[string]any{"jti": "y", "sid": "x"}))
	other := w.sign(w.claims(map[string]any{"jti": "z", "sid": "z"}))
	until := w.clock.Now().Add(time.Hour)
	require.NoError(t, w.store.Revoke(t.Context(), jwtauth.TokenID(testIssuer, "x"), until))
	require.ErrorIs(t, w.requireRefused(plain), jwtauth.ErrTokenRevoked)
	w.requireAccepted(inSession)
	require.NoError(t, w.store.Revoke(t.Context(), jwtauth.SessionID(testIssuer, "x"), until))
	require.ErrorIs(t, w.requireRefused(inSession), jwtauth.ErrTokenRevoked)
	w.requireAccepted(other)
}
