package jwk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/flight"
)

// announcer writes the durations of a process into a Source. It writes in a goroutine of its
// own, one write at a time, so a Source that hangs delays no reading.
type announcer struct {
	source Source
	now    func() time.Time
	every  time.Duration // readings cause at most one write in this time
	mu     *sync.Mutex   // guards the following fields; the caller of a method holds it

	own       Durations // the durations of this process
	stored    Durations // the durations of the source, as they were last read or written
	err       error     // why the source does not have own, or nil
	isStored  bool      // own was written successfully
	write     *flight.Call[Durations]
	nextWrite time.Time // a reading does not start a write before this time
}

// announceTimeout bounds how long OpenRing and NewIssuer wait until the durations are in
// the source. After that, OpenRing and NewIssuer return, and the write goes on in its
// goroutine.
const announceTimeout = time.Second

// writeTimeout bounds one write.
const writeTimeout = 5 * time.Second

var errDurationsLost = errors.New("the source has lost the durations of this process, or cannot store durations")

// mustWrite reports whether the source lacks durations of this process that may be written
// now. waiting is the key that waits to sign, or nil.
func (a *announcer) mustWrite(waiting *StoredKey) bool {
	return a.stored.raise(a.own, waiting != nil) != a.stored
}

// delayedBy returns an error if the waiting key delays the announcement.
func (a *announcer) delayedBy(waiting *StoredKey) error {
	if waiting == nil || a.stored.maxEach(a.own) == a.stored {
		return nil
	}
	return fmt.Errorf("the durations of this process will be written only after the key %s has begun to sign, at %s", errtext.Quote(waiting.ID), errtext.Time(waiting.SignsFrom))
}

// start joins the present write, or starts a new one (singleflight).
func (a *announcer) start(ctx context.Context, waiting *StoredKey) *flight.Call[Durations] {
	if a.write != nil && !a.write.HasEnded() {
		return a.write
	}
	own, now := a.own, a.now()
	a.nextWrite = now.Add(a.every)
	write := func(ctx context.Context) (longest Durations, err error) {
		err = a.source.Update(ctx, func(s Stored) (Stored, error) {
			s.Longest = s.Longest.raise(own, ringKeys(s.Keys).waiting(now) != nil)
			longest = s.Longest
			return s, longest.check()
		})
		return longest, err
	}
	a.write = flight.Start(context.WithoutCancel(ctx), writeTimeout, write, func(longest Durations, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err == nil {
			a.stored, a.isStored = longest, longest.maxEach(a.own) == longest
			err = a.delayedBy(waiting)
		}
		if err != nil || a.err != errDurationsLost { // errDurationsLost stays, since only a reading can show that the source keeps the durations
			a.err = err
		}
	})
	return a.write
}

// writeAndWait writes the durations of this process if the source does not have them. It
// waits until the write has ended, or ctx ends. It unlocks mu while it waits.
func (a *announcer) writeAndWait(ctx context.Context, waiting *StoredKey) {
	for a.mustWrite(waiting) {
		before, own := a.write, a.own
		write := a.start(ctx, waiting)
		a.mu.Unlock()
		_, err := write.Wait(ctx)
		a.mu.Lock()
		if ctx.Err() != nil && !a.isStored && a.err == nil {
			a.err = errors.New("writing the durations of this process into the source has not ended yet")
		}
		if err != nil || write != before && own == a.own {
			return // otherwise check again: another call had started this write, or own has changed
		}
	}
}

// afterReading starts a write if the source does not have own. wasStored means that own was
// written before the reading began.
func (a *announcer) afterReading(stored Durations, wasStored bool, waiting *StoredKey) {
	a.stored = stored
	if !a.mustWrite(waiting) {
		a.err = a.delayedBy(waiting)
		return
	}
	if wasStored {
		a.err = errDurationsLost
	}
	wait := a.nextWrite.Sub(a.now())
	if wait <= 0 || wait > a.every { // a longer wait means that the clock was set back
		a.start(context.Background(), waiting)
	}
}
