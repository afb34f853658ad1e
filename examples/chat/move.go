package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff"
)

// hold stops everybody's input at the end of a line, and everybody's output. Whoever joins is not served until release.
func (r *room) hold(ctx context.Context) (release func(), err error) {
	defer context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changed.Broadcast()
	})()
	release = sync.OnceFunc(r.release)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds++
	for u := range r.users {
		_ = u.conn.SetDeadline(time.Unix(1, 0)) // wakes its reader and its writer
	}
	for r.serving > 0 && ctx.Err() == nil {
		r.changed.Wait()
	}
	if r.serving > 0 {
		go release() // it takes mu
		return nil, context.Cause(ctx)
	}
	return release, nil
}

// release undoes one hold.
func (r *room) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds--
	if r.holds > 0 {
		return
	}
	for u := range r.users {
		_ = u.conn.SetDeadline(time.Time{})
		r.start(u)
	}
}

// saved is the log as it moves. Both it and position may get fields that an older version of this program ignores.
type saved struct {
	First int
	Lines []string
}

// section moves the log.
func (r *room) section() handoff.Section {
	return handoff.Section{
		Hold: r.hold,
		Save: func(_ context.Context, w io.Writer) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			return gob.NewEncoder(w).Encode(saved{r.first, r.lines})
		},
		Restore: func(_ context.Context, s *io.SectionReader) error {
			var log saved
			if err := gob.NewDecoder(s).Decode(&log); err != nil {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.first, r.lines = log.First, log.Lines
			return nil
		},
		// What was said at a successor that died has reached only users who were lost with it.
		Revival: handoff.RevivalKeep,
		// Likewise if it had not confirmed: users move later than that.
		Probation: true,
	}
}

// drain gives everybody to the successor.
func (r *room) drain(ctx context.Context, gen *handoff.Generation) error {
	release, err := r.hold(ctx) // as at the switch, unless the successor is one that does not know of the log
	if err != nil {
		return err
	}
	for {
		r.giveAll(ctx, gen)
		select {
		case <-r.came: // accepted in the instant of the switch, or back because the successor did not want it
		case <-gen.Released():
			r.giveAll(ctx, gen)
			r.closeAll()
			return nil
		case <-ctx.Done():
			release() // the successor has died, and this process serves again
			return ctx.Err()
		}
	}
}

// giveAll gives all that the successor takes. It is for a time when the room is held.
func (r *room) giveAll(ctx context.Context, gen *handoff.Generation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for u := range r.users {
		var state bytes.Buffer
		err := gob.NewEncoder(&state).Encode(u.position)
		if err == nil {
			err = gen.Give(ctx, "chat", u.conn, state.Bytes())
		}
		if err == nil {
			delete(r.users, u)
		} else if !errors.Is(err, handoff.ErrNoSuccessor) {
			slog.Warn("a user cannot move", "name", u.Name, "error", err)
		}
	}
}

// closeAll sends those away who are left.
func (r *room) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for u := range r.users {
		_ = u.conn.Close()
		delete(r.users, u)
	}
}

// take lets those in that the predecessor gives, and those that come back.
func (r *room) take(ctx context.Context, gen *handoff.Generation) {
	for {
		c, state, err := gen.Take(ctx, "chat")
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return // this generation is over
		}
		if err != nil { // out of descriptors, for example
			slog.Warn("take", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		u := &user{conn: c}
		if err := gob.NewDecoder(bytes.NewReader(state)).Decode(&u.position); err != nil {
			slog.Error("a user's position makes no sense", "error", err)
			_ = c.Close()
			continue
		}
		u.notice("process %d serves you now", os.Getpid())
		r.join(u)
	}
}
