package live

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// holding makes a Holder one that can be told from others.
type holding struct{ Holder }

// AddHolder has h stop requests while state moves. remove ends that.
func (x *Exchange) AddHolder(h Holder) (remove func()) {
	own := &holding{h}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.holders = append(x.holders, own)
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.holders = slices.DeleteFunc(slices.Clone(x.holders), func(other *holding) bool { return other == own })
	}
}

func (x *Exchange) holding() []*holding {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.holders // never changed in place, but for what is appended
}

// Nobody is held for longer than maxHold, or this part of the whole time, because others are not done.
const (
	maxHold  = time.Second
	partHold = 10
)

// Hold stops all requests, and returns when none is being answered or ctx has ended. Resume or Depart must follow in
// either case.
//
// It goes in rounds. First, while all is served on, it waits for the requests that had begun when the round did. Then
// no more begin, and it waits for those few that have begun meanwhile, but not for long: one client that is slow must
// not keep all others waiting. If they are not done, all is served again, for long enough that nobody has to wait in two
// rounds, and another one begins.
func (x *Exchange) Hold(ctx context.Context) error {
	short := maxHold
	if deadline, ok := ctx.Deadline(); ok {
		short = min(short, time.Until(deadline)/partHold)
	}
	for again := false; ; again = true {
		if err := x.each(func(h Holder) error { return h.AwaitBegun(ctx) }); err != nil {
			return err
		}
		x.op.Lock()
		x.held = true
		x.op.Unlock()
		within, cancel := context.WithTimeout(ctx, short)
		err := x.each(func(h Holder) error { return h.Hold(within, again) })
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		x.Resume()
		select {
		case <-time.After(short / partHold):
		case <-ctx.Done():
		}
	}
}

// Resume undoes Hold, and Depart as far as requests are concerned.
func (x *Exchange) Resume() {
	x.op.Lock()
	defer x.op.Unlock()
	x.held = false
	for _, h := range x.holding() {
		h.Resume()
	}
}

// each calls f for all holders at once, and waits.
func (x *Exchange) each(f func(Holder) error) error {
	holders := x.holding()
	errs := make([]error, len(holders))
	var wg sync.WaitGroup
	for i, h := range holders {
		wg.Go(func() { errs[i] = f(h) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
