package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/segue-go/segue/handoff"
)

// hub has all sessions. They know nothing of each other, so each moves by itself, as soon as it is between two reads.
type hub struct {
	gen *handoff.Generation

	mu       sync.Mutex
	changed  *sync.Cond // on mu: a session is gone
	sessions map[*session]struct{}
	leaving  bool // sessions are to move as soon as they can
}

func newHub(gen *handoff.Generation) *hub {
	h := &hub{gen: gen, sessions: make(map[*session]struct{})}
	h.changed = sync.NewCond(&h.mu)
	return h
}

// add takes s and serves it.
func (h *hub) add(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[s] = struct{}{}
	if h.leaving {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
	go func() {
		for {
			if err := s.serve(); !errors.Is(err, errInterrupted) || h.move(s) {
				break
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.sessions, s)
		h.changed.Broadcast()
	}()
}

// leave interrupts all sessions, and those that are added later.
func (h *hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaving = true
	for s := range h.sessions {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// back ends leaving. Who was interrupted finds that there is nobody to go to.
func (h *hub) back() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaving = false
}

// move gives s to the successor, and reports whether this process is done with it. If there is no successor, s goes on
// here: that one has died, or has no descriptors left. Once there will not be one any more, its client is sent away.
func (h *hub) move(s *session) (done bool) {
	var state bytes.Buffer
	err := gob.NewEncoder(&state).Encode(s.position)
	if err == nil {
		err = h.gen.Give(context.Background(), "websocket", s.conn, state.Bytes())
	}
	if err == nil {
		return true
	}
	if !errors.Is(err, handoff.ErrNoSuccessor) {
		slog.Warn("a session cannot move", "error", err)
	}
	if h.stay(s) {
		return false
	}
	s.end(ws.StatusGoingAway, "please connect again")
	return true
}

// stay lets s go on reading, unless there will be no successor any more. It excludes leave, which would else be undone.
func (h *hub) stay(s *session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.gen.Released():
		return false
	default:
		_ = s.conn.SetReadDeadline(time.Time{})
		return true
	}
}

// drain moves all sessions. It is called at a stop for good too, and ends them then.
func (h *hub) drain(ctx context.Context) error {
	h.leave()
	select {
	case <-h.gen.Released(): // until then clients come, who were accepted in the last instant
	case <-ctx.Done():
		h.back() // the successor has died, and this process serves again
		return ctx.Err()
	}
	h.leave() // those who could not move
	defer context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.changed.Broadcast()
	})()
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.sessions) > 0 && ctx.Err() == nil {
		h.changed.Wait()
	}
	return ctx.Err()
}

// take serves the sessions that the predecessor gives, and those that come back from a successor that has died.
func (h *hub) take(net.Listener) error {
	for {
		c, state, err := h.gen.Take(context.Background(), "websocket")
		if errors.Is(err, io.EOF) {
			return nil // this generation is over
		}
		if err != nil { // out of descriptors, for example
			slog.Warn("take", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s := &session{conn: c}
		if err := gob.NewDecoder(bytes.NewReader(state)).Decode(&s.position); err != nil {
			slog.Error("a session's position makes no sense", "error", err)
			_ = c.Close()
			continue
		}
		h.add(s)
	}
}
