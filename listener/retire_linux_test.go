package listener

import (
	"errors"
	"net"
	"testing"
)

// What waits when a listener retires is served, and Accept ends only with the listener.
func TestRetire(t *testing.T) {
	const clients = 5
	for name, at := range where(t) {
		t.Run(name, func(t *testing.T) {
			l := listen(t, at[0], at[1], Options{})
			must(t, l.Pause())
			for range clients {
				dial(t, l.Addr())
			}
			must(t, l.Retire())
			if _, err := net.Dial(at[0], l.Addr().String()); err == nil {
				t.Error("the socket is still open")
			}
			for range clients {
				must(t, within(t, "Accept", accept(t, l)).err)
			}
			last := accept(t, l)
			l.gate.queued(t, "Accept")
			must(t, l.Retire())
			must(t, l.Vacate())
			if err := l.Open(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Open: %v, want net.ErrClosed", err)
			}
			must(t, l.Close())
			if err := within(t, "Accept", last).err; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: %v, want net.ErrClosed", err)
			}
		})
	}
}

// Another process that holds the socket goes on to serve it, with what was in the queue.
func TestVacateLeavesTheQueue(t *testing.T) {
	for name, at := range where(t) {
		t.Run(name, func(t *testing.T) {
			l := listen(t, at[0], at[1], Options{})
			other, err := Dup(l)
			must(t, err)
			dial(t, l.Addr())
			must(t, l.Vacate())
			heir, err := FromFD(other, Options{})
			must(t, err)
			t.Cleanup(func() { _ = heir.Close() })
			must(t, heir.Open())
			must(t, within(t, "Accept", accept(t, heir)).err)
		})
	}
}

// Connections that nobody has come for are closed with the listener.
func TestRetiredCloseDropsTheRest(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", Options{})
	c := dial(t, l.Addr())
	eventuallyQueued := func() bool { ok, err := readable(l.ln); must(t, err); return ok }
	eventually(t, "the client is in the queue", eventuallyQueued)
	must(t, l.Retire())
	must(t, l.Close())
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

// A listener that has retired can be given another socket, and its Accept goes on.
func TestReset(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", Options{})
	other, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	if err := l.Reset(other, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Reset of one that has a socket: %v, want net.ErrClosed", err)
	}
	must(t, l.Retire())
	must(t, other.Close())
	again, err := net.Listen("tcp", l.Addr().String())
	must(t, err)
	call := accept(t, l)
	must(t, l.Reset(again, nil))
	must(t, l.Open())
	dial(t, l.Addr())
	must(t, within(t, "Accept", call).err)
}
