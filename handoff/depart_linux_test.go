package handoff

import (
	"log/slog"
	"syscall"
	"testing"

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
	g := &Generation{log: slog.New(slog.DiscardHandler)}
	d := &departure{a: &attempt{g: g}, room: 10}
	d.change.L = &d.mu
	l := &lane{d: d}
	d.lanes = []*lane{l}
	l.Move(willing(true))
	l.Offer([]live.Conn{willing(true), willing(false), willing(true)})
	_, conns, ok := d.next()
	if !ok || len(conns) != 3 {
		t.Fatalf("picked %d of 4 connections, of which 3 leave", len(conns))
	}
	check := func(what string, room int) {
		t.Helper()
		if d.room != room {
			t.Errorf("%s: room for %d more, want %d", what, d.room, room)
		}
		if d.quiet() || d.shutIfIdle() {
			t.Errorf("%s: they are taken for gone", what)
		}
	}
	check("picked", 7)
	d.flight = []shipment{{batch: 0, conns: make([]live.Conn, 2)}, {batch: 1, conns: make([]live.Conn, 1)}}
	d.taken(&wire.Taken{Batch: 0, Room: 8}) // one in flight, three picked
	check("after TAKEN", 4)
	d.arrived, d.flight, d.closed = nil, nil, true
	d.send(&wire.Conns{}, conns)
	if !d.quiet() {
		t.Error("what was kept is taken for picked")
	}
}
