package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// Set is what a generation has of sections. Its fields are set before the first call, and must be; its methods may be called
// concurrently.
type Set struct {
	Timeout time.Duration       // for all callbacks of one phase
	Life    context.Context     // ends with the generation
	Go      func(f func())      // runs f in a goroutine for which the generation waits when it is closed
	Log     func() *slog.Logger // what the generation logs to now
	Told    func(Moved)         // a section has moved, or has not; nil: nobody wants to know

	mu       sync.Mutex
	sections []*Section // in the order of registration

	holding sync.Mutex // held while exclusive sections are held
}

// Moved is what became of one section.
type Moved struct {
	Section  string
	Restored bool // otherwise saved
	Ahead    bool
	Bytes    int64
	Took     time.Duration
	Err      error
}

// tell tells what became of a section since begun.
func (set *Set) tell(m Moved, begun time.Time) {
	if set.Told != nil {
		m.Took = time.Since(begun)
		set.Told(m)
	}
}

// Add registers s, which [Section.Check] has accepted, unless there are too many, or one of that name. The error is [ErrSection].
func (set *Set) Add(s *Section) error {
	set.mu.Lock()
	defer set.mu.Unlock()
	if len(set.sections) == wire.MaxSections {
		return Refuse(s.Name, "%d sections are the most", wire.MaxSections)
	}
	if set.find(s.Name) != nil {
		return Refuse(s.Name, "there is already a section of that name")
	}
	set.sections = append(set.sections, s)
	return nil
}

// find returns the section of that name, or nil. Callers hold mu.
func (set *Set) find(name string) *Section {
	i := slices.IndexFunc(set.sections, func(s *Section) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return set.sections[i]
}

// all returns the sections that are registered so far: none is added once Ready has begun.
func (set *Set) all() []*Section {
	set.mu.Lock()
	defer set.mu.Unlock()
	return slices.Clone(set.sections)
}

// Len returns how many sections there are.
func (set *Set) Len() int {
	set.mu.Lock()
	defer set.mu.Unlock()
	return len(set.sections)
}

// Exact reports whether there is a section that is saved in the gap of a switch.
func (set *Set) Exact() bool {
	return slices.ContainsFunc(set.all(), func(s *Section) bool { return s.Save != nil })
}

// Fresh calls Fresh for the sections that do not come, or have not, and for which it has not been called.
func (set *Set) Fresh(ctx context.Context, comes func(*Section) bool) error {
	for _, s := range set.all() {
		if s.fresh || comes(s) {
			continue
		}
		s.fresh = true
		if s.Fresh == nil {
			continue
		}
		if err := set.call(ctx, s, "Fresh", s.Fresh); err != nil {
			return err
		}
	}
	return nil
}

// bound bounds ctx by the time that sections may take.
func (set *Set) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, set.Timeout,
		fmt.Errorf("not done within %v (Config.StateTimeout): %w", set.Timeout, os.ErrDeadlineExceeded))
}

// errRunning: a callback that ignored its context still runs.
var errRunning = errors.New("a callback of an earlier attempt has not returned yet; it must when its context ends")

// callbackGrace is how long a callback may take to return once its context has ended.
const callbackGrace = 100 * time.Millisecond

// call runs a callback of s until it returns, or does not although ctx has ended: then it goes on in a goroutine
// for which the generation waits when it is closed.
func (set *Set) call(ctx context.Context, s *Section, what string, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return &sectionError{s.Name, what, context.Cause(ctx)}
	}
	if !s.running.TryLock() {
		return &sectionError{s.Name, what, errRunning}
	}
	done := make(chan error, 1)
	set.Go(func() {
		err := set.recovered(ctx, s, what, f)
		s.running.Unlock() // before anybody hears of it, who may call the next one
		done <- err
	})
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		t := time.NewTimer(callbackGrace)
		defer t.Stop()
		select {
		case err = <-done:
		case <-t.C:
			set.Log().Error("a callback does not return although its context has ended", "section", s.Name, "callback", what)
			err = fmt.Errorf("it does not return: %w", context.Cause(ctx))
		}
	}
	if err != nil {
		return &sectionError{s.Name, what, err}
	}
	return nil
}

// recovered calls f, and makes an error of a panic: the program could not recover from it itself, and it must not take what
// serves with it.
func (set *Set) recovered(ctx context.Context, s *Section, what string, f func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			set.Log().Error("a callback panicked", "section", s.Name, "callback", what, "panic", v, "stack", string(debug.Stack()))
			if err, _ = v.(error); err != nil {
				err = fmt.Errorf("panic: %w", err)
			} else {
				err = fmt.Errorf("panic: %v", v)
			}
		}
	}()
	return f(ctx)
}
