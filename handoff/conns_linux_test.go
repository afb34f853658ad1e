package handoff_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// crowd is a live.Server whose connections do nothing by themselves.
type crowd struct {
	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, with each change
	conns   []*member
	d       live.Departure
	stays   int
	finish  func() // what Finish does
	arrived []net.Conn
	states  []string
}

// member is a connection of a crowd.
type member struct {
	net.Conn
	cr          *crowd
	busy        bool // does not leave when asked
	state       string
	moved, kept int
}

// newCrowd registers a server for a listener with n connections, whose clients' ends it returns.
func newCrowd(t *testing.T, l net.Listener, n int) (*crowd, []net.Conn) {
	t.Helper()
	cr := &crowd{changed: make(chan struct{})}
	cls, servers := clients(t, n)
	for _, s := range servers {
		cr.conns = append(cr.conns, &member{Conn: s, cr: cr, state: "s"})
	}
	unregister := l.(live.Registrar).Register("test/1", cr)
	t.Cleanup(func() {
		unregister()
		cr.mu.Lock()
		defer cr.mu.Unlock()
		for _, c := range cr.arrived {
			_ = c.Close()
		}
	})
	return cr, cls
}

func (cr *crowd) change(f func()) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	f()
	close(cr.changed)
	cr.changed = make(chan struct{})
}

// until waits until ok, which is called with mu held.
func (cr *crowd) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		cr.mu.Lock()
		yes, changed := ok(), cr.changed
		cr.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// outcome waits until so many connections have moved and been kept, and that is all.
func (cr *crowd) outcome(t *testing.T, moved, kept int) {
	t.Helper()
	cr.until(t, "outcome", func() bool {
		m, k := 0, 0
		for _, c := range cr.conns {
			m, k = m+c.moved, k+c.kept
		}
		return m == moved && k == kept
	})
}

func (cr *crowd) Depart(d live.Departure) {
	cr.change(func() { cr.d = d })
	var conns []live.Conn
	for _, c := range cr.conns {
		conns = append(conns, c)
	}
	d.Ask(conns)
}

// departure is the one in force.
func (cr *crowd) departure() live.Departure {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	return cr.d
}

func (cr *crowd) Finish(context.Context) {
	cr.mu.Lock()
	finish := cr.finish
	cr.mu.Unlock()
	if finish != nil {
		finish()
	}
}
func (cr *crowd) Stay() { cr.change(func() { cr.d = nil; cr.stays++ }) }
func (cr *crowd) Arrive(c net.Conn, p live.Position) {
	cr.change(func() { cr.arrived, cr.states = append(cr.arrived, c), append(cr.states, string(p.State)) })
}

func (m *member) SyscallConn() (syscall.RawConn, error) { return m.Conn.(syscall.Conn).SyscallConn() }
func (m *member) Position() live.Position {
	m.cr.mu.Lock()
	defer m.cr.mu.Unlock()
	return live.Position{State: []byte(m.state)}
}
func (m *member) Kept() { m.cr.change(func() { m.kept++ }) }

func (m *member) Leave() bool {
	m.cr.mu.Lock()
	defer m.cr.mu.Unlock()
	return !m.busy
}

func (m *member) Moved() {
	_ = m.Close()
	m.cr.change(func() { m.moved++ })
}

// confirmed goes as far as CONFIRM, as a successor that takes connections of the first listener.
func (r *rawPeer) confirmed(room int) {
	r.t.Helper()
	r.owned(0)
	r.send(&wire.Confirm{Takes: []wire.Take{{Item: 0, Protocol: "test/1"}}, Room: room})
}

// mover calls at the rendezvous as one that takes part in moving connections.
func mover(t *testing.T, path string) *rawPeer {
	t.Helper()
	r := dialRaw(t, path)
	r.features = []string{"conns"}
	return r
}

// conns receives a batch, and closes its descriptors. RELEASED may come at any time, and PING when this test is slow.
func (r *rawPeer) conns(n int) *wire.Conns {
	r.t.Helper()
	m, raw, err := r.recv()
	if err != nil {
		r.t.Fatalf("waiting for CONNS: %v", err)
	}
	defer raw.Close()
	switch m.(type) {
	case *wire.Ping:
		r.send(&wire.Pong{})
		return r.conns(n)
	case *wire.Released:
		return r.conns(n)
	}
	c, ok := m.(*wire.Conns)
	if !ok || len(raw.FDs) != n {
		r.t.Fatalf("got %+v with %d descriptors, want CONNS with %d", m, len(raw.FDs), n)
	}
	if records, err := wire.ParseRecords(c.Records, n); err != nil || len(records[0].State) == 0 || records[0].Expires >= 0 {
		r.t.Fatalf("records %+v, %v", records, err)
	}
	return c
}

// batchLen is how many connections a generation sends at once, if there are as many.
const batchLen = 128

// longGuard is a config whose incumbent does not let go during a test.
func longGuard(t *testing.T, path string) handoff.Config {
	c := config(t, path)
	c.Guard = time.Minute
	return c
}

// TestConnsRefused: what the successor refuses stays, and so does what has not been sent then.
func TestConnsRefused(t *testing.T) {
	path := rendezvous(t)
	a, l := first(t, longGuard(t, path))
	cr, _ := newCrowd(t, l, 700)
	s := mover(t, path)
	s.confirmed(1000)
	s.send(&wire.Taken{Batch: s.conns(batchLen).Batch, Room: 700})
	s.send(&wire.Taken{Batch: 99}) // means nothing
	s.send(&wire.Taken{Batch: s.conns(batchLen).Batch, Refused: "full"})
	// The next batches may be on their way.
	cr.until(t, "Stay", func() bool { return cr.stays > 0 })
	_ = s.conn.Close()
	cr.until(t, "outcome", func() bool {
		m, k := 0, 0
		for _, c := range cr.conns {
			m, k = m+c.moved, k+c.kept
		}
		return m == batchLen && k >= batchLen
	})
	if st := a.Status(); st.Moved != batchLen {
		t.Errorf("Status says that %d have moved", st.Moved)
	}
}

// TestConnsRoom: no more is sent than the successor has room for, and the rest stays when there is none.
func TestConnsRoom(t *testing.T) {
	path := rendezvous(t)
	_, l := first(t, longGuard(t, path))
	cr, _ := newCrowd(t, l, 30)
	s := mover(t, path)
	s.confirmed(10)
	s.send(&wire.Taken{Batch: s.conns(10).Batch, Room: 5})
	s.send(&wire.Taken{Batch: s.conns(5).Batch})
	cr.until(t, "Stay", func() bool { return cr.stays > 0 })
	cr.outcome(t, 15, 0)
}

// TestConnsInFlight: no more than two batches are on their way, also if long states make them small.
func TestConnsInFlight(t *testing.T) {
	path := rendezvous(t)
	c := longGuard(t, path)
	c.StepTimeout = 200 * time.Millisecond
	_, l := first(t, c)
	cr, _ := newCrowd(t, l, 6)
	cr.change(func() {
		for _, m := range cr.conns {
			m.state = strings.Repeat("s", live.MaxState)
		}
	})
	s := mover(t, path)
	s.confirmed(1000)
	const window = 2
	for range window {
		s.conns(1)
	}
	hear[*wire.Ping](s) // since nothing was answered
	s.send(&wire.Pong{})
	for batch := range 6 {
		s.send(&wire.Taken{Batch: batch, Room: 1000})
		if batch < 6-window {
			s.conns(1)
		}
	}
	cr.outcome(t, 6, 0)
}

// TestConnsBusy: what does not leave when asked moves when it says so, before what is only offered.
func TestConnsBusy(t *testing.T) {
	path := rendezvous(t)
	_, l := first(t, longGuard(t, path))
	cr, _ := newCrowd(t, l, 2)
	cr.change(func() { cr.conns[0].busy = true })
	s := mover(t, path)
	s.confirmed(10)
	s.send(&wire.Taken{Batch: s.conns(1).Batch, Room: 10})
	cr.outcome(t, 1, 0)
	if !cr.departure().Move(cr.conns[0]) {
		t.Error("it must stay")
	}
	s.send(&wire.Taken{Batch: s.conns(1).Batch, Room: 10})
	cr.outcome(t, 2, 0)
}

// TestConnsUnanswered: what a successor has not answered when it hangs up stays: within the guard it is killed first.
func TestConnsUnanswered(t *testing.T) {
	path := rendezvous(t)
	a, l := first(t, config(t, path)) // whose guard is short
	cr, _ := newCrowd(t, l, 200)
	s := mover(t, path)
	s.confirmed(1000)
	s.conns(batchLen)
	s.conns(200 - batchLen)
	hear[*wire.Ping](s)
	s.send(&wire.Pong{})
	hear[*wire.Released](s)
	s.send(&wire.Taken{Batch: 0, Room: 100})
	_ = s.conn.Close()
	cr.outcome(t, batchLen, 200-batchLen)
	awaitPhase(t, a, handoff.PhaseDraining)
}

// TestConnsOverdue: a successor that does not answer a batch is asked whether it lives, and the guard goes on if it does;
// after the guard the operator is told.
func TestConnsOverdue(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		t.Run(map[bool]string{true: "within_the_guard", false: "after_the_guard"}[guarded], func(t *testing.T) {
			path := rendezvous(t)
			c := longGuard(t, path)
			if !guarded {
				c.Guard = -1
			}
			log := logs(t, &c)
			c.StepTimeout = 200 * time.Millisecond
			a, l := first(t, c)
			cr, _ := newCrowd(t, l, 200)
			s := mover(t, path)
			s.confirmed(1000)
			if guarded {
				s.conns(batchLen)
				s.conns(200 - batchLen)
				hear[*wire.Ping](s)
				s.send(&wire.Pong{})
			} else {
				for batches, released := 0, false; batches < 2 || !released; { // in any order
					switch s.next().(type) {
					case *wire.Conns:
						batches++
					case *wire.Ping:
						s.send(&wire.Pong{})
					case *wire.Released:
						released = true
					}
				}
				log.says(t, "connections wait for a process that does not answer")
			}
			s.send(&wire.Taken{Batch: 0, Room: 100})
			s.send(&wire.Taken{Batch: 1, Room: 100})
			cr.outcome(t, 200, 0)
			select {
			case <-a.Released():
				if guarded {
					t.Error("the guard has ended")
				}
			default:
				if !guarded {
					t.Error("the guard goes on")
				}
			}
		})
	}
}

// TestConnsNotAgreed: a successor that knows nothing of connections is sent none.
func TestConnsNotAgreed(t *testing.T) {
	path := rendezvous(t)
	a, l := first(t, config(t, path))
	cr, _ := newCrowd(t, l, 3)
	s := dialRaw(t, path)
	s.confirmed(10) // what it says means nothing
	hear[*wire.Ping](s)
	cr.outcome(t, 0, 0)
	wantErr(t, "Give", a.Give(t.Context(), "x", cr.conns[0].Conn, nil), handoff.ErrNoSuccessor)
}
