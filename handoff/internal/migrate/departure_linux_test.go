package migrate

import (
	"log/slog"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// willing is a connection that leaves when asked, or does not.
type willing bool

func (w willing) Leave() bool                           { return bool(w) }
func (w willing) SyscallConn() (syscall.RawConn, error) { return nil, syscall.EBADF }
func (w willing) Position() live.Position               { return live.Position{} }
func (w willing) Moved()                                {}
func (w willing) Kept()                                 {}

// TestPicked: what was taken off the lanes is neither queued nor in flight until its batch has been put together. Nobody
// may take that for the end, and the successor's room is for it.
func TestPicked(t *testing.T) {
	d := New(slog.New(slog.DiscardHandler), Config{}).newDeparture(nil, 10)
	l := &lane{d: d}
	d.lanes = []*lane{l}
	l.Move(willing(true))
	l.Ask([]live.Conn{willing(true), willing(false), willing(true)})
	_, conns, err := d.next()
	if err != nil || len(conns) != 3 {
		t.Fatalf("picked %d of 4 connections, of which 3 leave", len(conns))
	}
	check := func(what string, credit int) {
		t.Helper()
		if d.credit != credit {
			t.Errorf("%s: credit for %d more, want %d", what, d.credit, credit)
		}
		if d.quiet() || d.stopIfIdle() {
			t.Errorf("%s: they are taken for gone", what)
		}
	}
	check("picked", 7)
	d.inFlight = []batch{{number: 0, conns: make([]live.Conn, 2)}, {number: 1, conns: make([]live.Conn, 1)}}
	d.Taken(&wire.Taken{Batch: 0, Room: 8}) // one in flight, three picked
	check("after TAKEN", 4)
	d.copies, d.inFlight, d.halted = nil, nil, true
	d.send(&wire.Conns{}, conns)
	if !d.quiet() {
		t.Error("what was kept is taken for picked")
	}
}

// TestPatience: a successor is given StepTimeout from when there began to be something to take, or it last took something, or
// somebody began to wait.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(slog.New(slog.DiscardHandler), Config{StepTimeout: time.Second}).newDeparture(nil, 10)
		l := &lane{d: d}
		d.lanes = []*lane{l}
		begun := time.Now()
		check := func(what string, want time.Duration) {
			t.Helper()
			if got := d.patience(begun); got != want {
				t.Errorf("%s: patience for %v, want %v", what, got, want)
			}
		}
		time.Sleep(time.Minute)
		check("nothing to take", time.Second)
		l.Move(willing(true))
		check("something", time.Second)
		time.Sleep(600 * time.Millisecond)
		l.Move(willing(true))
		check("more", 400*time.Millisecond)
		if _, _, err := d.next(); err != nil {
			t.Fatal(err)
		}
		d.picked, d.inFlight = 0, []batch{{number: 0, conns: make([]live.Conn, 1)}, {number: 1, conns: make([]live.Conn, 1)}}
		d.Taken(&wire.Taken{Batch: 0, Room: 8})
		check("one of two batches was taken", time.Second)
		time.Sleep(400 * time.Millisecond)
		check("nothing since", 600*time.Millisecond)
		begun = time.Now()
		check("somebody waits from now on", time.Second)
		if !d.await(nil) || time.Since(begun) != time.Second {
			t.Errorf("await has not given up after a second, but after %v", time.Since(begun))
		}
		d.Taken(&wire.Taken{Batch: 1, Room: 8})
		check("all was taken", time.Second)
		go func() {
			time.Sleep(time.Minute)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.stopLocked()
		}()
		if d.await(nil) {
			t.Error("await has given up, where nothing moves any more")
		}
	})
}

// TestFlushLate: a process that has no time left to finish does not wait for its predecessor once more.
func TestFlushLate(t *testing.T) {
	c := New(slog.New(slog.DiscardHandler), Config{StepTimeout: time.Second})
	c.Succeeds(make(chan struct{}))
	c.departure = c.newDeparture(nil, 10)
	close(c.departure.announced)
	c.Flush(time.Now().Add(-time.Hour), time.Hour)
	if c.departure.open() {
		t.Error("connections still move")
	}
}
