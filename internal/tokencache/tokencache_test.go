package tokencache_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/tokencache"
)

type (
	cache = tokencache.Cache[string]
	entry = tokencache.Entry[string]
)

// put puts a text in under itself.
func put(c *cache, text, owner string) *entry {
	e := &entry{Value: text}
	c.Put(e, text, owner, 0)
	return e
}

func token(n int) string { return fmt.Sprintf("header.claims of %06d.signature-%09d", n, n*7919) }

// fits is room for as many entries as a test has.
const fits = 64 << 20

func TestWhatIsFoundWasPutInUnderThatKey(t *testing.T) {
	c := tokencache.New[string](1<<12, fits)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		text := token(random.IntN(10_000))
		switch e := c.Get(text); {
		case e != nil:
			require.Equal(t, text, e.Value)
		default:
			put(c, text, text)
		}
		require.LessOrEqual(t, c.Stats().Len, int64(1<<12))
	}
	s := c.Stats()
	require.InEpsilon(t, 200_000, s.Hits+s.Misses, 0.2)
	require.Greater(t, s.Hits, uint64(60_000), "4 of 10 fit")
	require.NotZero(t, s.Evictions)
}

func TestKeysThatShareTheirEndOnlyMiss(t *testing.T) {
	c := tokencache.New[string](100, fits)
	end := fmt.Sprintf("%064d", 7)
	put(c, "a"+end, "")
	require.Nil(t, c.Get("b"+end))
	require.Nil(t, c.Get(end))
	require.Nil(t, c.Get(""))
	require.Equal(t, "a"+end, c.Get("a"+end).Value)
}

func TestNearlyAllThatFitsStays(t *testing.T) {
	const many = 10_000
	c := tokencache.New[string](1<<14, fits)
	for n := range many {
		put(c, token(n), token(n))
	}
	found := 0
	for n := range many {
		if c.Get(token(n)) != nil {
			found++
		}
	}
	require.Greater(t, found, many*99/100)
	require.Equal(t, int64(found), c.Stats().Len)
}

func TestAnEntryThatIsThereIsReplaced(t *testing.T) {
	c := tokencache.New[string](100, fits)
	first := put(c, token(1), "alice")
	second := put(c, token(1), "alice")
	require.Same(t, second, c.Get(token(1)))
	require.NotSame(t, first, second)
	require.EqualValues(t, 1, c.Stats().Len)
}

func TestTheBytesHold(t *testing.T) {
	const most = 100_000
	c := tokencache.New[string](1<<20, most)
	random := rand.New(rand.NewPCG(3, 4))
	var all []*entry
	for n := range 20_000 {
		e := &entry{Value: token(n)}
		e.Charge(random.IntN(50)) // before it is in
		c.Put(e, token(n), token(n%100), random.IntN(3000))
		all = append(all, e)
		all[random.IntN(len(all))].Charge(random.IntN(500))
		require.LessOrEqual(t, c.Stats().Bytes, int64(most))
	}
	require.Greater(t, c.Stats().Len, int64(10))
	c.Put(&entry{}, "larger than all", "", most+1)
	require.Nil(t, c.Get("larger than all"))
	require.LessOrEqual(t, c.Stats().Bytes, int64(most))
}

func TestWhatIsEvictedIsNotPaidForAnyMore(t *testing.T) {
	c := tokencache.New[string](1, fits)
	first := put(c, token(1), "alice")
	with := c.Stats().Bytes
	require.True(t, first.Charge(1000))
	require.Equal(t, with+1000, c.Stats().Bytes)
	put(c, token(2), "bob")
	require.Nil(t, c.Get(token(1)))
	require.Equal(t, with, c.Stats().Bytes)
	require.True(t, first.Charge(1000))
	require.Equal(t, with, c.Stats().Bytes, "it has left")
	full := tokencache.New[string](1, with)
	e := put(full, token(1), "alice")
	require.False(t, e.Charge(1), "there is no room")
	require.Equal(t, with, full.Stats().Bytes)
}

// TestWhoHasManyTokensCrowdsOutHisOwn: the others keep more than half of their
// hits, whether the attacker asks for his again or brings new ones each time.
func TestWhoHasManyTokensCrowdsOutHisOwn(t *testing.T) {
	const size, others = 1 << 12, 3000 // and as many bytes as they take
	for _, fresh := range []bool{false, true} {
		c := tokencache.New[string](size, size*300)
		random := rand.New(rand.NewPCG(5, 6))
		visit := func(n int, owner string) bool {
			if c.Get(token(n)) != nil {
				return true
			}
			put(c, token(n), owner)
			return false
		}
		visitOthers := func(rounds int) (share float64) {
			hits := 0
			for range rounds {
				n := random.IntN(others)
				if visit(n, fmt.Sprint("user ", n)) {
					hits++
				}
			}
			return float64(hits) / float64(rounds)
		}
		visitOthers(10 * others)
		before := visitOthers(10 * others)
		attack := others
		during := 0.0
		for range 100 {
			for range 20 * others / 10 {
				if fresh {
					attack++
				} else {
					attack = others + random.IntN(20*size)
				}
				visit(attack, "mallory")
			}
			during += visitOthers(others/10) / 100
		}
		t.Logf("hits of the others: %.0f %% before, %.0f %% during the attack", 100*before, 100*during)
		require.Greater(t, during, before/2)
		require.LessOrEqual(t, c.Stats().Len, int64(size))
	}
}

// visitor asks a cache as a verifier does.
type visitor struct {
	*cache
	size int // of what a value refers to
}

// visit says whether a token of owner was found, and whether it was put in.
func (v visitor) visit(text, owner string) (found, admitted bool) {
	if v.Get(text) != nil {
		return true, false
	}
	if v.Admits(text, len(text)+v.size) {
		v.Put(&entry{Value: text}, text, owner, v.size)
		return false, true
	}
	v.NoteSeen(text, owner)
	return false, false
}

// TestWhatComesOnceEntersNoFullCache, and so pushes out nothing: what comes again
// does enter, unless very much else came between.
func TestWhatComesOnceEntersNoFullCache(t *testing.T) {
	const size = 1 << 10
	for room, large := range map[int64]int{fits: 0, size * 200: 0, size * 2000: 2500} { // full by the number of entries, and by their bytes
		v := visitor{tokencache.New[string](size, room), large}
		owner := func(n int) string { return fmt.Sprint("user ", n) }
		once := func(n int) (admitted bool) {
			_, admitted = v.visit(token(n), owner(n))
			return admitted
		}
		n := 0
		for ; once(n); n++ {
			require.Less(t, n, 2*size)
		}
		require.Greater(t, n, size/2, "it has room until it is full")
		before := v.Stats()
		for range 100 * size {
			n++
			require.False(t, once(n))
		}
		after := v.Stats()
		require.Equal(t, before.Evictions, after.Evictions)
		require.Equal(t, before.Len, after.Len)
		again := 0
		for range 1000 {
			n++
			once(n)
			for between := range 20 {
				once(1_000_000_000 + 20*n + between)
			}
			if once(n) {
				again++
			}
		}
		require.Greater(t, again, 900)
	}
}

// TestWhoHasManyTokensKeepsNobodyOutOfAFullCache: with tokens of his that come once
// each, between the two times for which the others wait.
func TestWhoHasManyTokensKeepsNobodyOutOfAFullCache(t *testing.T) {
	const size = 1 << 10
	for _, attack := range []int{0, 4 * size} {
		v := visitor{tokencache.New[string](size, fits), 0}
		for n := range 2 * size {
			v.visit(token(n), fmt.Sprint("user ", n))
		}
		entered, m := 0, 1_000_000
		for n := range 50 {
			text, owner := token(500_000+n), fmt.Sprint("late ", n)
			v.visit(text, owner)
			for range attack {
				m++
				v.visit(token(m), "mallory")
			}
			if _, admitted := v.visit(text, owner); admitted {
				entered++
			}
		}
		t.Logf("%d of 50 enter at their second time, beside %d others", entered, attack)
		require.Greater(t, entered, 12) // some 32; without shares, 6 or fewer
	}
}

func TestReadersNeverSeeAnotherKeysEntry(t *testing.T) {
	c := tokencache.New[string](64, 64<<10)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(worker)))
			for range 20_000 {
				text := token(random.IntN(200))
				e := c.Get(text)
				if e == nil {
					e = put(c, text, text)
				} else if e.Value != text {
					t.Error("another token's entry")
				}
				e.Charge(random.IntN(100))
				if s := c.Stats(); s.Len > 64 || s.Len < 0 || s.Bytes < 0 {
					t.Error("out of bounds", s)
				}
			}
		})
	}
	all.Wait()
	s := c.Stats()
	require.InEpsilon(t, 8*20_000, s.Hits+s.Misses, 0.2)
}

func BenchmarkGet(b *testing.B) {
	const many = 10_000
	c := tokencache.New[string](1<<14, fits)
	texts := make([]string, many)
	for n := range texts {
		texts[n] = fmt.Sprintf("%0400d", n)
		put(c, texts[n], texts[n])
	}
	order := rand.New(rand.NewPCG(1, 2)).Perm(many)
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			c.Get(texts[0])
		}
	})
	b.Run("one/parallel", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				c.Get(texts[0])
			}
		})
	})
	b.Run("10000 in random order", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			c.Get(texts[order[n%many]])
		}
	})
}
