package recent_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/recent"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestAKeyIsRecentForTheWindowEitherWay(t *testing.T) {
	s := recent.New(10*time.Second, 4)
	require.False(t, s.Has("a", start))
	s.Add("a", start)
	for _, d := range []time.Duration{0, 9999 * time.Millisecond, -9999 * time.Millisecond} {
		require.True(t, s.Has("a", start.Add(d)), d)
	}
	for _, d := range []time.Duration{10 * time.Second, -10 * time.Second, time.Hour, -time.Hour} {
		require.False(t, s.Has("a", start.Add(d)), d)
	}
	require.False(t, s.Has("b", start))
}

func TestTheOldestKeyLeavesFirstAndARenewedOneIsYoung(t *testing.T) {
	s := recent.New(time.Hour, 3)
	for i := range 3 {
		s.Add(fmt.Sprint(i), start)
	}
	s.Add("0", start.Add(time.Minute))
	s.Add("3", start.Add(time.Minute))
	require.True(t, s.Has("0", start.Add(time.Minute)), "it was renewed")
	require.False(t, s.Has("1", start.Add(time.Minute)), "it was the oldest")
	require.True(t, s.Has("2", start.Add(time.Minute)))
	require.True(t, s.Has("3", start.Add(time.Minute)))
}

func TestTheMemoryIsBounded(t *testing.T) {
	s := recent.New(time.Hour, 8)
	for i := range 100_000 {
		s.Add(fmt.Sprint(i), start)
	}
	kept := 0
	for i := range 100_000 {
		if s.Has(fmt.Sprint(i), start) {
			kept++
		}
	}
	require.Equal(t, 8, kept)
}
