package control_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/handoff/timeline"
)

// TestWatch watches an upgrade, which it follows, one that fails, and the end.
func TestWatch(t *testing.T) {
	path, addr := rendezvous(t), freePort(t)
	start(t, path, addr, "patient")
	c := &control.Client{Path: path}
	all, done := make(chan control.Happening, 1000), make(chan error, 1)
	go func() { done <- c.Watch(bounded(t), func(h control.Happening) { all <- h }) }()
	seen := func(what string, is func(h control.Happening) bool) {
		t.Helper()
		for over := time.After(patience); ; {
			select {
			case h := <-all:
				if is(h) {
					return
				}
			case <-over:
				t.Fatalf("%s: not within %v", what, patience)
			}
		}
	}
	phase := func(generation int, p timeline.Phase) func(control.Happening) bool {
		return func(h control.Happening) bool {
			return h.Kind == control.KindPhase && h.Generation == generation && h.Phase == p && !h.Time.IsZero()
		}
	}
	ended := func(r timeline.Result) func(control.Happening) bool {
		return func(h control.Happening) bool { return h.Kind == control.KindHandoff && h.Handoff.Result == r }
	}
	seen("serving", phase(1, timeline.PhaseServing))
	held := held(t, addr)
	if err := c.Upgrade(bounded(t), nil); err != nil {
		t.Fatal(err)
	}
	seen("offering", phase(1, timeline.PhaseOffering))
	seen("guarding", phase(1, timeline.PhaseGuarding))
	seen("the handoff", ended(timeline.Done))
	seen("the second generation", phase(2, timeline.PhaseServing))
	seen("who drains", func(h control.Happening) bool {
		return h.Kind == control.KindDrain && len(h.Draining) == 1 && h.Draining[0].Generation == 1 && h.Draining[0].Conns.Active == 1
	})
	if _, err := c.Retire(bounded(t), 0); err != nil {
		t.Error(err)
	}
	within(t, "the request", held)
	seen("nobody drains", func(h control.Happening) bool { return h.Kind == control.KindDrain && len(h.Draining) == 0 })
	if err := os.WriteFile(path+".role", []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	is(t, "a broken upgrade", c.Upgrade(bounded(t), nil), control.ErrFailed)
	seen("the failed handoff", func(h control.Happening) bool {
		return ended(timeline.Failed)(h) && h.Handoff.Exit != nil && h.Handoff.Exit.Status == 3 && strings.Contains(h.Handoff.Output, "configuration")
	})
	if err := c.Stop(bounded(t)); err != nil {
		t.Error(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, control.ErrNobody) {
			t.Errorf("Watch: %v", err)
		}
	case <-time.After(patience):
		t.Error("Watch does not end with the chain")
	}
}

// TestManyWatch has more watch than may, none of whom reads: others are refused, and an upgrade is neither refused nor delayed.
func TestManyWatch(t *testing.T) {
	path := rendezvous(t)
	start(t, path, freePort(t), "good")
	for range 8 {
		conn, err := net.Dial("unixpacket", path+".control")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write([]byte(`{"version":1,"request":"watch"}`)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 64<<10)); err != nil { // it has begun
			t.Fatal(err)
		}
	}
	c := &control.Client{Path: path}
	is(t, "one more", c.Watch(bounded(t), func(control.Happening) {}), control.ErrBusy, "too many")
	if err := c.Upgrade(bounded(t), nil); err != nil {
		t.Errorf("Upgrade: %v", err)
	}
	ctx, cancel := context.WithCancel(bounded(t)) // of the next there is none yet
	err := c.Watch(ctx, func(control.Happening) { cancel() })
	is(t, "watching the next", err, context.Canceled)
}
