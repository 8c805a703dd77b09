package steady_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/steady"
)

// start has no monotonic part.
var start = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func TestAClockIsBelieved(t *testing.T) {
	type reading struct{ now, believed time.Duration } // since start
	const h, m, s = time.Hour, time.Minute, time.Second
	for _, test := range []struct {
		name     string
		readings []reading
	}{
		{"that advances", []reading{{0, 0}, {s, s}, {m, m}, {2 * m, 2 * m}, {3*m - s, 3*m - s}}},
		{"whose readings are out of order", []reading{{0, 0}, {10 * s, 10 * s}, {9 * s, 9 * s}, {11 * s, 11 * s}}},
		{"not while it is ahead for a moment", []reading{{0, 0}, {h, 0}, {h + 9*m, 0}, {s, s}, {2 * s, 2 * s}}},
		{"not while it is ahead again and again", []reading{{0, 0}, {h, 0}, {s, s}, {h + 9*m, s}, {2 * s, 2 * s}, {h + 15*m, 2 * s}}},
		{"after it has stayed ahead", []reading{{0, 0}, {h, 0}, {h + 5*m, 0}, {h + 10*m, h + 10*m}, {h + 11*m, h + 11*m}}},
		{"when it comes back to a time between", []reading{{0, 0}, {8 * 24 * h, 0}, {h, 0}, {h + 10*m, h + 10*m}}},
		{"not when it jumps again after it came back late", []reading{{0, 0}, {h, 0}, {3 * m, 0}, {4 * m, 0}, {h + 5*m, 0}, {5 * m, 0}, {15 * m, 15 * m}}},
		{"when it is set back for good", []reading{{0, 0}, {-h, -h}, {-h + s, -h + s}, {0, -h + s}}},
		{"if it was ahead at the beginning", []reading{{h, h}, {0, 0}, {s, s}, {h, s}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c steady.Clock
			for _, r := range test.readings {
				require.Equal(t, start.Add(r.believed), c.Confirm(start.Add(r.now)), "at %v", r.now)
			}
		})
	}
}

func TestIdleTimeIsNoJumpIfTheClockHasAMonotonicPart(t *testing.T) {
	var c steady.Clock
	now := time.Now()
	require.Equal(t, now, c.Confirm(now))
	later := now.Add(5 * time.Hour)
	require.Equal(t, later, c.Confirm(later))
	jumped := later.Round(0).Add(time.Hour) // without the part, nobody can tell
	require.Equal(t, later, c.Confirm(jumped))
}

func TestAFloorGoesBackOnlyIfTheClockStaysBehind(t *testing.T) {
	const h, m, s = time.Hour, time.Minute, time.Second
	for _, test := range []struct {
		name     string
		readings [][2]time.Duration // the time and the floor, since start
	}{
		{"an advance", [][2]time.Duration{{0, 0}, {s, s}, {h, h}}},
		{"a small step back", [][2]time.Duration{{h, h}, {h - m, h}, {h + 20*m, h + 20*m}}},
		{"behind for a moment", [][2]time.Duration{{h, h}, {0, h}, {9 * m, h}, {h, h}, {0, h}, {9 * m, h}}},
		{"behind for good", [][2]time.Duration{{h, h}, {0, h}, {9 * m, h}, {10 * m, 10 * m}, {11 * m, 11 * m}}},
		{"further and further behind", [][2]time.Duration{{h, h}, {30 * m, h}, {10 * m, h}, {19 * m, h}, {20 * m, 20 * m}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var f steady.Floor
			for _, r := range test.readings {
				require.Equal(t, start.Add(r[1]), f.Advance(start.Add(r[0])), "at %v", r[0])
			}
		})
	}
}
