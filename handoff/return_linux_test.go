package handoff_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// beforeRaw is a generation that has succeeded a raw incumbent and confirmed, with a crowd of n connections of its own.
func beforeRaw(t *testing.T, c handoff.Config, n int, features ...string) (*rawPeer, *handoff.Generation, *crowd) {
	t.Helper()
	server := rawListener(t, c.Path)
	joined := make(chan *handoff.Generation, 1)
	ctx := bounded(t)
	go func() {
		g, err := handoff.Join(ctx, c)
		if err != nil {
			t.Errorf("Join: %v", err)
		}
		joined <- g
	}()
	r := acceptRaw(t, server)
	r.features = features
	hear[*wire.Hello](r)
	r.welcome(1)
	r.offer([]wire.Item{{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"}}, tcpListener(t))
	g := result(t, "Join", joined)
	if g == nil {
		t.FailNow()
	}
	t.Cleanup(func() { shut(t, g) })
	cr, _ := newCrowd(t, listen(t, g, "tcp", "127.0.0.1:0"), n)
	readied := make(chan error, 1)
	go func() { readied <- g.Ready(ctx) }()
	hear[*wire.Prepared](r)
	r.send(&wire.Commit{})
	if err := result(t, "Ready", readied); err != nil {
		t.Fatal(err)
	}
	hear[*wire.Owned](r)
	hear[*wire.Confirm](r)
	return r, g, cr
}

// sendConns sends n connections that nobody has said anything on, and closes the own copies.
func (r *rawPeer) sendConns(m wire.Conns, n int) {
	r.t.Helper()
	_, servers := clients(r.t, n)
	fds := make([]syscall.Conn, n)
	for i, s := range servers {
		m.Records = wire.AppendRecord(m.Records, wire.Record{Expires: -1, State: fmt.Append(nil, m.Name, i)})
		fds[i] = s.(syscall.Conn)
	}
	r.send(&m, fds...)
	for _, s := range servers {
		_ = s.Close()
	}
}

// handedBack hears FAILED, and takes the token.
func (r *rawPeer) handedBack() {
	r.t.Helper()
	if f := hear[*wire.Failed](r); !f.Returned || !r.takeToken() {
		r.t.Fatalf("%+v, or no token", f)
	}
}

// TestReturn: what a generation has accepted, parked or got and not taken goes back after the sockets, and what the incumbent
// sends too late is not answered.
func TestReturn(t *testing.T) {
	r, g, _ := beforeRaw(t, config(t, rendezvous(t)), 3, "conns", "return")
	r.sendConns(wire.Conns{Protocol: "test/1"}, 2)
	hear[*wire.Taken](r)
	r.sendConns(wire.Conns{Batch: 1, Name: "gift"}, 2)
	hear[*wire.Taken](r)
	if err := g.Fail(errUnwell); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	end := waiting(t, g, func(context.Context) error { close(drained); return nil })
	r.handedBack()
	r.sendConns(wire.Conns{Batch: 2, Protocol: "test/1"}, 1) // it is ours
	pending(t, "drain", drained)
	r.send(&wire.Confirm{Takes: []wire.Take{{Item: 0, Protocol: "test/1"}, {Item: 7, Protocol: "test/1"}}, Room: 100})
	got := map[string]int{}
	for got["test/1"] < 5 || got["gift"] < 2 {
		m, raw, err := r.recv()
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		c, ok := m.(*wire.Conns)
		if !ok {
			t.Fatalf("got %+v after %v", m, got)
		}
		got[c.Protocol+c.Name] += len(raw.FDs)
		raw.Close()
		r.send(&wire.Taken{Batch: c.Batch, Room: 100})
	}
	hear[*wire.Bye](r)
	await(t, "drain", drained)
	err := result(t, "Wait", end)
	wantErr(t, "Wait", err, handoff.ErrHandedBack)
	wantErr(t, "Wait", err, errUnwell)
	r.hangsUp()
	if got["test/1"] != 5 || got["gift"] != 2 || g.Status().Moved != 7 {
		t.Errorf("%v came back, %d as Status says", got, g.Status().Moved)
	}
}

// TestReturnRefused: where connections do not return they are drained as ever: given to their server, which tells the clients
// to leave. Nobody is told before it is known.
func TestReturnRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		returns bool
		do      func(r *rawPeer)
	}{
		{"without the feature", false, func(r *rawPeer) { r.hangsUp() }},
		{"ABORT", true, func(r *rawPeer) {
			r.send(&wire.Abort{Reason: "no"})
			r.hangsUp()
		}},
		{"the end", true, func(r *rawPeer) { _ = r.conn.Close() }},
		{"silence", true, func(*rawPeer) {}},
		{"no room", true, func(r *rawPeer) {
			r.send(&wire.Confirm{Takes: []wire.Take{{Item: 0, Protocol: "test/1"}}})
			hear[*wire.Bye](r)
		}},
		{"another protocol", true, func(r *rawPeer) {
			r.send(&wire.Confirm{Takes: []wire.Take{{Item: 0, Protocol: "test/2"}}, Room: 100})
			hear[*wire.Bye](r)
		}},
		{"the end in the midst", true, func(r *rawPeer) {
			r.send(&wire.Confirm{Takes: []wire.Take{{Item: 0, Protocol: "test/1"}}, Room: 100})
			hear[*wire.Conns](r)
			_ = r.conn.Close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, rendezvous(t))
			c.StepTimeout = 300 * time.Millisecond
			c.DrainTimeout = time.Second // the crowd does not care that it is drained
			features := []string{"conns"}
			if tt.returns {
				features = append(features, "return")
			}
			r, g, cr := beforeRaw(t, c, 0, features...)
			r.sendConns(wire.Conns{Protocol: "test/1"}, 3)
			hear[*wire.Taken](r)
			if err := g.Fail(errUnwell); err != nil {
				t.Fatal(err)
			}
			r.handedBack()
			drains := make(chan struct{}, 10)
			end := waiting(t, g, func(context.Context) error { drains <- struct{}{}; return nil })
			var other sync.WaitGroup
			other.Go(func() { tt.do(r) })
			cr.until(t, "arrivals", func() bool { return len(cr.arrived) == 3 })
			wantErr(t, "Wait", result(t, "Wait", end), handoff.ErrHandedBack)
			if len(drains) < 2 {
				t.Error("what arrived was not drained")
			}
			other.Wait() // it hears what was said before Wait returned
		})
	}
}

// TestReturned: an incumbent takes back what a successor brings that it has served, and answers for it as ever.
func TestReturned(t *testing.T) {
	path := rendezvous(t)
	a, l := first(t, longGuard(t, path))
	cr, cls := newCrowd(t, l, 3)
	k := taking(t, a, "gift")
	s := mover(t, path)
	s.features = []string{"conns", "return"}
	s.confirmed(1000)
	m, raw, err := s.recv()
	if err != nil {
		t.Fatal(err)
	}
	c, ok := m.(*wire.Conns)
	if !ok || len(raw.FDs) != 3 {
		t.Fatalf("got %+v with %d descriptors", m, len(raw.FDs))
	}
	s.send(&wire.Taken{Batch: c.Batch, Room: 100})
	cr.outcome(t, 3, 0)
	s.putToken()
	s.send(&wire.Failed{Reason: "unwell", Returned: true})
	confirm := hear[*wire.Confirm](s)
	if len(confirm.Takes) != 1 || confirm.Takes[0] != (wire.Take{Protocol: "test/1"}) || confirm.Room == 0 {
		t.Errorf("%+v", confirm)
	}
	awaitPhase(t, a, handoff.PhaseServing)
	serves(t, l)
	s.send(&wire.Conns{Item: 55, Protocol: "test/1", Records: c.Records}, conns(raw.FDs)...)
	if m := hear[*wire.Taken](s); m.Refused == "" {
		t.Error("it has taken connections of nothing")
	}
	s.send(&wire.Conns{Batch: 1, Protocol: "test/1", Records: c.Records}, conns(raw.FDs)...)
	if m := hear[*wire.Taken](s); m.Refused != "" || m.Batch != 1 {
		t.Errorf("%+v", m)
	}
	raw.Close()
	s.sendConns(wire.Conns{Batch: 2, Name: "gift"}, 2)
	if m := hear[*wire.Taken](s); m.Refused != "" || m.Batch != 2 {
		t.Errorf("%+v", m)
	}
	for _, c := range cls {
		if _, err := c.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
	}
	cr.until(t, "arrivals", func() bool { return len(cr.arrived) == 3 })
	eventually(t, "the gifts", func() bool { return k.count() == 2 })
	if st := a.Status(); st.Arrived != 5 {
		t.Errorf("Status says that %d have arrived", st.Arrived)
	}
	// Meanwhile another successor comes, which this one does not keep from anything.
	b := join(t, config(t, path))
	listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	superseded(t, a)
	end := waiting(t, a, func(context.Context) error { return nil })
	pending(t, "Wait, while connections may come", end)
	s.send(&wire.Bye{})
	s.hangsUp()
	shut(t, b)
	if err := result(t, "Wait", end); err != nil {
		t.Error(err)
	}
}

func conns(fds []*listener.FD) []syscall.Conn {
	all := make([]syscall.Conn, len(fds))
	for i, fd := range fds {
		all[i] = fd
	}
	return all
}

// TestReturnedWithoutFeature: a successor that does not know of it is let go of, as ever.
func TestReturnedWithoutFeature(t *testing.T) {
	path := rendezvous(t)
	a, l := first(t, longGuard(t, path))
	s := mover(t, path)
	s.confirmed(1000)
	s.putToken()
	s.send(&wire.Failed{Reason: "unwell", Returned: true})
	hear[*wire.Abort](s)
	_ = s.conn.Close()
	awaitPhase(t, a, handoff.PhaseServing)
	serves(t, l)
	alone(t, a)
}

// TestFailReturnsUntaken: connections that the program gave come back, those that the successor's program never took and those
// that it gives again; also if it closes its generation at once.
func TestFailReturnsUntaken(t *testing.T) {
	for _, how := range []string{"Wait", "Close"} {
		t.Run(how, func(t *testing.T) {
			const n = 300
			path := rendezvous(t)
			a, _ := first(t, longGuard(t, path))
			back := taking(t, a, "gift")
			cls, servers := clients(t, n)
			b := join(t, config(t, path))
			listen(t, b, "tcp", "127.0.0.1:0")
			ready(t, b)
			superseded(t, a)
			if err := giving(a, "gift", servers)(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all are there", func() bool { return b.Status().Arrived == n })
			var mine net.Conn
			c, state, err := b.Take(t.Context(), "gift")
			if err != nil {
				t.Fatal(err)
			}
			mine = c
			for range 2 { // as a server that fails and a program that notices do
				if err := b.Fail(errUnwell); err != nil {
					t.Fatal(err)
				}
			}
			if how == "Wait" {
				err := b.Wait(t.Context(), func(ctx context.Context) error { return b.Give(ctx, "gift", mine, state) })
				if !errors.Is(err, handoff.ErrHandedBack) || errors.Is(err, handoff.ErrNoSuccessor) {
					t.Errorf("Wait: %v", err)
				}
			} else {
				shut(t, b)
				_ = mine.Close()
			}
			want := n
			if how == "Close" {
				want--
			}
			eventually(t, "all are back", func() bool { return back.count() == want })
			for i, c := range cls {
				if s := back.get(fmt.Sprint(i)); s != nil {
					talk(t, c, s)
				}
			}
		})
	}
}

// TestStaleReturnsNothing: where state forbids a revival, nobody is there to return to, and connections are drained.
func TestStaleReturnsNothing(t *testing.T) {
	c := longGuard(t, rendezvous(t))
	a, la := firstWith(t, c, newCell("1").exact())
	_, _ = newCrowd(t, la, 3)
	cb := config(t, c.Path)
	cb.DrainTimeout = time.Second
	b, lb := nextWith(t, cb, newCell("").exact())
	cr, _ := newCrowd(t, lb, 0)
	end := waiting(t, a, nil)
	ready(t, b)
	superseded(t, a)
	eventually(t, "all are there", func() bool { return b.Status().Arrived == 3 })
	if err := b.Fail(errUnwell); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Wait", result(t, "Wait", end), handoff.ErrStale)
	wantErr(t, "Wait", b.Wait(t.Context(), nil), handoff.ErrHandedBack)
	cr.until(t, "arrivals", func() bool { return len(cr.arrived) == 3 })
	if st := b.Status(); st.Moved != 0 {
		t.Errorf("%d have moved", st.Moved)
	}
}

// TestFailRetires: a listener that only the generation has that fails is closed, with its path. Who waits in its queue is
// served first.
func TestFailRetires(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, longGuard(t, path))
	b := join(t, config(t, path))
	listen(t, b, "tcp", "127.0.0.1:0")
	l := listen(t, b, "unix", path+".own")
	ready(t, b)
	superseded(t, a)
	c := queued(t, l.Addr(), 1)[0]
	if err := b.Fail(errUnwell); err != nil {
		t.Fatal(err)
	}
	var s net.Conn
	var err error
	within(t, "Accept", func() { s, err = l.Accept() })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	talk(t, c, s)
	if _, err := os.Lstat(path + ".own"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path: %v", err)
	}
}

// TestReturners: several successors may return connections at once. The incumbent waits for each before it ends, but no longer
// than it drains, and what one of them says wrong is of no effect on anybody else.
func TestReturners(t *testing.T) {
	path := rendezvous(t)
	c := longGuard(t, path)
	c.DrainTimeout = time.Second
	a, l := first(t, c)
	var all []*rawPeer
	for range 3 {
		s := mover(t, path)
		s.features = []string{"conns", "return"}
		s.confirmed(1000)
		s.putToken()
		s.send(&wire.Failed{Reason: "unwell", Returned: true})
		hear[*wire.Confirm](s)
		awaitPhase(t, a, handoff.PhaseServing)
		alone(t, a) // the attempt is over
		all = append(all, s)
	}
	all[0].sendBytes([]byte("garbage"))
	all[0].hangsUp()
	for i, s := range all[1:] {
		s.send(&wire.Owned{}) // means nothing
		s.sendConns(wire.Conns{Name: fmt.Sprint("gift of ", i)}, 1)
		if m := hear[*wire.Taken](s); m.Refused != "" {
			t.Errorf("%+v", m)
		}
	}
	serves(t, l)
	b := join(t, config(t, path))
	listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	superseded(t, a)
	all[1].send(&wire.Bye{})
	all[1].hangsUp()
	end := waiting(t, a, nil)
	pending(t, "Wait, while connections may come", end)
	shut(t, b) // so there is no guard
	if err := result(t, "Wait", end); err != nil {
		t.Error(err)
	}
	all[2].hangsUp()
}
