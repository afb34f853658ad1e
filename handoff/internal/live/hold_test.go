package live

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// holder is one whose requests are never done in time, for some rounds.
type holder struct {
	told  []string
	stuck int           // rounds in which Hold is in vain
	slow  time.Duration // what Settle takes
}

func (h *holder) AwaitBegun(ctx context.Context) error {
	h.told = append(h.told, "settle")
	select {
	case <-time.After(h.slow):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *holder) Hold(ctx context.Context, again bool) error {
	if again != slices.Contains(h.told, "hold") {
		h.told = append(h.told, "again is wrong")
	}
	h.told = append(h.told, "hold")
	if h.stuck--; h.stuck < 0 {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h *holder) Resume() { h.told = append(h.told, "resume") }
func (h *holder) Gone()   { h.told = append(h.told, "gone") }

// What takes long is waited for while all is served on; what is not done when nothing is, only for a moment.
func TestHoldRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x Exchange
		quick, slow := new(holder), &holder{stuck: 2, slow: 2 * time.Second}
		x.AddHolder(quick)
		remove := x.AddHolder(slow)
		x.Register(Key{1, "http/1"}, recorder{name: "server", told: &quick.told})

		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		begun := time.Now()
		if err := x.Hold(ctx); err != nil {
			t.Fatal(err)
		}
		want := []string{"settle", "hold", "resume", "settle", "hold", "resume", "settle", "hold"}
		if !slices.Equal(quick.told, want) || !slices.Equal(slow.told, want) {
			t.Errorf("got %q and %q, want %q", quick.told, slow.told, want)
		}
		if took := time.Since(begun); took != 3*slow.slow+2*(maxHold+maxHold/partHold) {
			t.Errorf("held after %v", took) // in a bubble, this is exact
		}
		x.Depart(func(Key) Departure { return nil })
		// First the gate, so that who is not held any more finds that the state has moved.
		if want = append(want, "gone", "server departs"); !slices.Equal(quick.told, want) {
			t.Errorf("got %q, want %q", quick.told, want)
		}
		x.Resume()

		// Time is up, in Settle or in Hold.
		quick.told, slow.told, slow.slow = nil, nil, time.Minute
		if err := x.Hold(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if x.Resume(); !slices.Equal(quick.told, []string{"settle", "resume"}) {
			t.Errorf("got %q", quick.told)
		}
		quick.told, slow.slow, slow.stuck = nil, 0, 1<<30
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := x.Hold(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if n := len(quick.told); n < 2*partHold {
			t.Errorf("got %q", quick.told)
		}
		x.Resume()
		remove()
		if err := x.Hold(t.Context()); err != nil {
			t.Errorf("what was removed is waited for: %v", err)
		}
	})
}
