package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/replica"
)

const (
	issuer   = "https://api.example.com"
	audience = "https://api.example.com"
	writers  = 16 // how many goroutines fill a store
)

var ctx = context.Background()

func measure(e *engine, size sizes, short bool) *report {
	r := &report{engine: e.title}
	store := e.open()
	r.refresh(e, store, size)
	before := e.size()
	fill(store, 0, size.few)
	small := r.latencies(store, "few", size.few, size)
	fill(store, size.few, size.many)
	r.add("bytes in the engine for a session, at "+number(size.many), "", true, "%.0f", float64(e.size()-before)/float64(size.many))
	r.same(e, store)
	large := r.latencies(store, "many", size.many, size)
	for _, op := range []string{"Create", "Advance", "List"} {
		ratio := float64(large[op].p99) / float64(small[op].p99)
		r.add(fmt.Sprintf("%s, p99 at %s sessions / at %s", op, number(size.many), number(size.few)), "2×", ratio <= 2, "%.2f× (p50 %v → %v, p99 %v → %v)", ratio, small[op].p50, large[op].p50, small[op].p99, large[op].p99)
	}
	if sweep := e.sweep(store); sweep != nil {
		r.sweep(store, sweep, size)
	}
	r.propagation(e, store, size)
	r.replica(e, store, size)
	return r
}

// refresh compares the time of Refresh with the least work that Refresh needs: a round trip
// to the engine, one check of a signature, and two signatures.
func (r *report) refresh(e *engine, store store, size sizes) {
	key, err := jwk.Generate(jwk.ES256)
	must(err)
	keys, err := jwk.NewRing(key)
	must(err)
	i, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{Issuer: issuer, Audiences: []string{audience}, Sessions: store, Revocations: store})
	must(err)
	g := jwtauth.Grant{Subject: "alice", Scopes: []string{"read"}}
	tokens, err := i.Issue(ctx, g)
	must(err)
	token := tokens.RefreshToken
	digest := sha256.Sum256([]byte(token))
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	signature, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
	must(err)
	trip := e.trip()
	var ratios, trips, primitives, refreshes []float64
	for range size.rounds {
		n := 300
		tripped := each(n, trip)
		made := each(n, func() { // one check, two signatures
			if !ecdsa.VerifyASN1(&private.PublicKey, digest[:], signature) {
				panic("the primitive refuses a good signature")
			}
			for range 2 {
				_, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
				must(err)
			}
		})
		refreshed := each(n, func() {
			next, err := i.Refresh(ctx, jwtauth.RefreshRequest{Token: token})
			must(err)
			token = next.RefreshToken
		})
		ratios = append(ratios, refreshed/(tripped+1.3*made))
		trips, primitives, refreshes = append(trips, tripped), append(primitives, made), append(refreshes, refreshed)
	}
	ratio := median(ratios)
	r.add("Refresh / ("+e.tripName+" + 1.3 × one check and two signatures, ES256)", "1×", ratio <= 1, "%.2f× (%v; %v, %v)", ratio, nanos(median(refreshes)), nanos(median(trips)), nanos(median(primitives)))
}

// fill creates the sessions with the numbers from, from+1, … to-1.
func fill(s store, from, to int) {
	var next atomic.Int64
	next.Store(int64(from))
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= to {
					return
				}
				must(s.Create(ctx, row(i), 0))
			}
		})
	}
	all.Wait()
}

func key(i int) jwtauth.SessionKey {
	return jwtauth.SessionKey{Issuer: issuer, Subject: fmt.Sprintf("user-%08d", i), ID: fmt.Sprintf("session-%08d-0123456789abcdef", i)}
}

var data = []byte(`{"client_id":"web","label":"Firefox on Linux","scopes":["orders:read","orders:write"],"began":1700000000,"auth_time":1700000000,"end":1702592000}`)

func row(i int) jwtauth.SessionRecord {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return jwtauth.SessionRecord{Key: key(i), Generation: 1, RotatedAt: now, ExpiresAt: now.Add(7 * 24 * time.Hour), Data: data}
}

type percentiles struct{ p50, p99 time.Duration }

// latencies measures Create, Advance and List, one call after the other, and returns the
// percentiles of each. Create makes new sessions; Advance and List use random sessions of
// the first n.
func (r *report) latencies(s store, name string, n int, size sizes) map[string]percentiles {
	out := map[string]percentiles{}
	generation := map[int]int64{}
	for op, call := range map[string]func(i int){
		"Create": func(i int) {
			one := row(i)
			one.Key.Subject = fmt.Sprintf("%s-%s", name, rand.Text())
			must(s.Create(ctx, one, 0))
		},
		"Advance": func(i int) {
			now := time.Now().UTC().Truncate(time.Microsecond)
			got, advanced, err := s.Advance(ctx, key(i), jwtauth.Rotation{From: int64(n) << 10, At: now, ExpiresAt: now.Add(7 * 24 * time.Hour)})
			must(err)
			if !advanced && generation[i] == 0 {
				panic("Advance did not advance")
			}
			generation[i] = got.Generation
		},
		"List": func(i int) {
			rows, err := s.List(ctx, issuer, key(i).Subject, "", 1000)
			if must(err); len(rows) != 1 {
				panic("List does not return the one session of its subject")
			}
		},
	} {
		var times []time.Duration
		for range size.calls {
			i := int(random() % uint64(n))
			began := time.Now()
			call(i)
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		out[op] = percentiles{times[len(times)/2].Round(time.Microsecond), times[len(times)*99/100].Round(time.Microsecond)}
	}
	return out
}

// same advances one session ten thousand times, and measures how much the engine grows.
func (r *report) same(e *engine, s store) {
	const times = 10_000
	one := row(0)
	one.Key.Subject = "one"
	must(s.Create(ctx, one, 0))
	before := e.size()
	for g := range int64(times) {
		_, advanced, err := s.Advance(ctx, one.Key, jwtauth.Rotation{From: g + 1, At: one.RotatedAt, ExpiresAt: one.ExpiresAt})
		if must(err); !advanced {
			panic("Advance did not advance")
		}
	}
	rows, err := s.List(ctx, issuer, "one", "", 1000)
	must(err)
	r.add("a session that is refreshed 10,000 times", "one row", len(rows) == 1, "%d row, %+.1f kB in the engine", len(rows), float64(e.size()-before)/1000)
}

func (r *report) sweep(s store, sweep func() int, size sizes) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range size.calls {
		one := row(i)
		one.Key.Subject, one.ExpiresAt = "gone", now.Add(-2*time.Hour)
		must(s.Create(ctx, one, 0))
	}
	began := time.Now()
	n := sweep()
	r.add(fmt.Sprintf("Sweep of %d expired sessions among %s", n, number(size.many)), "", true, "%v", time.Since(began).Round(time.Millisecond))
}

// propagation revokes a thousand ids a second. Another process waits for each of them and
// prints when its replica knows it. The lag is the time from Revoke to that moment.
func (r *report) propagation(e *engine, s store, size sizes) {
	self, err := os.Executable()
	must(err)
	child := exec.Command(self, "-follow", e.name, "-at", e.address)
	if size.pushed < full.pushed {
		child.Args = append(child.Args, "-short")
	}
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	must(err)
	must(child.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		panic("the other process is not ready: " + lines.Text())
	}
	began := make([]time.Time, size.pushed)
	until := time.Now().Add(time.Hour)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var all sync.WaitGroup
		for i := range size.pushed {
			<-tick.C
			began[i] = time.Now()
			all.Go(func() { must(s.Revoke(ctx, pushedID(i), until)) })
		}
		all.Wait()
	}()
	var lags []time.Duration
	for range size.pushed {
		if !lines.Scan() {
			panic("the other process has ended")
		}
		i, at, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(i)
		must(err)
		nanos, err := strconv.ParseInt(at, 10, 64)
		must(err)
		lags = append(lags, time.Unix(0, nanos).Sub(began[n]))
	}
	must(child.Wait())
	slices.Sort(lags)
	p99 := lags[len(lags)*99/100]
	r.add("a revocation reaches another process, 1,000 a second", fmt.Sprintf("p99 %v", e.lag), p99 <= e.lag, "p50 %v, p99 %v, longest %v", lags[len(lags)/2].Round(100*time.Microsecond), p99.Round(100*time.Microsecond), lags[len(lags)-1].Round(100*time.Microsecond))
}

func pushedID(i int) string { return jwtauth.TokenID("pushed", strconv.Itoa(i)) }

// waitForRevocations runs in the other process. For each id, it waits until the replica
// reports the id as revoked, and prints the number of the id and the time.
func waitForRevocations(name, address string, n int) {
	r, err := replica.New(connect(name, address), replica.Options{})
	must(err)
	defer r.Close()
	must(r.Ready(ctx))
	time.Sleep(2 * time.Second) // gives the watcher time to start listening
	fmt.Println("ready")
	for i := range n {
		for {
			revoked, err := r.IsRevoked(ctx, pushedID(i))
			must(err)
			if revoked {
				break
			}
			time.Sleep(200 * time.Microsecond)
		}
		fmt.Println(i, time.Now().UnixNano())
	}
}

// replica adds size.many revocations to the store and starts a replica. It measures the start
// of the replica, its memory and its IsRevoked.
func (r *report) replica(e *engine, s store, size sizes) {
	before := e.size()
	ids := make([]string, size.many)
	var b [16]byte
	for i := range ids {
		rand.Read(b[:])
		ids[i] = jwtauth.TokenID(issuer, string(b[:]))
	}
	until := time.Now().Add(time.Hour)
	var next atomic.Int64
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(ids)); i = next.Add(1) - 1 {
				must(s.Revoke(ctx, ids[i], until))
			}
		})
	}
	all.Wait()
	r.add("bytes in the engine for a revocation, at "+number(size.many), "", true, "%.0f", float64(e.size()-before)/float64(size.many))
	other := e.open()
	heapBefore, cpuBefore := heap(), cpu()
	began := time.Now()
	replica, err := replica.New(other, replica.Options{})
	must(err)
	defer replica.Close()
	for replica.Status().Lag < 0 {
		time.Sleep(time.Millisecond)
	}
	took, used := time.Since(began), cpu()-cpuBefore
	must(replica.Ready(ctx))
	r.add("a Replica starts, with "+number(size.many)+" revocations", "3 s of a core", used < 3*time.Second, "%v, of which this process computes %v", took.Round(10*time.Millisecond), used.Round(10*time.Millisecond))
	kept := heap() - heapBefore
	r.add("its memory", "24 MB", kept <= 24e6 || size.many < full.many, "%.1f MB", float64(kept)/1e6)
	absent := make([]string, 1<<14)
	for i := range absent {
		absent[i] = jwtauth.TokenID("absent", strconv.Itoa(i))
	}
	var times []float64
	for range size.rounds {
		i := 0
		times = append(times, each(len(absent)/2, func() {
			found, err := replica.IsRevoked(ctx, absent[i:i+2]...)
			if must(err); found {
				panic("IsRevoked reports an id that was not revoked")
			}
			i += 2
		}))
	}
	r.add("IsRevoked of the Replica, two ids", "200 ns", median(times) <= 200, "%.0f ns", median(times))
	runtime.KeepAlive(ids)
}

// each makes n calls and returns the average time of a call, in nanoseconds.
func each(n int, call func()) float64 {
	began := time.Now()
	for range n {
		call()
	}
	return float64(time.Since(began)) / float64(n)
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func nanos(n float64) time.Duration { return time.Duration(n).Round(100 * time.Nanosecond) }

func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func random() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
}

// heap returns the bytes of the heap in use after a garbage collection.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
