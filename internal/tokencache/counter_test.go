package tokencache

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACounterIsExactAtFirstAndCloseLater(t *testing.T) {
	var c counter
	for n := range uint64(countExactly) {
		require.Equal(t, n, c.load())
		c.add()
	}
	const calls = 1 << 20
	var w sync.WaitGroup
	for range 4 {
		w.Go(func() {
			for range calls / 4 {
				c.add()
			}
		})
	}
	w.Wait()
	require.InEpsilon(t, calls+countExactly, c.load(), 0.07) // nine standard deviations
}
