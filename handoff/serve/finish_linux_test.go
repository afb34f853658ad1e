package serve

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/internal/live"
)

// Finish waits until a connection has left on which a request is being answered, and for no other.
func TestFinish(t *testing.T) {
	park := newPark(t)
	first, second := &teller{name: "a", hold: make(chan struct{})}, &teller{name: "b"}
	a := newNode(t, "tcp", &http.Server{Handler: first}, false)
	b := newNode(t, "tcp", &http.Server{Handler: second}, false)
	client := newClient(t, a.dial())
	_, _ = fmt.Fprintf(client, get, "/one")
	await(t, "a request", func() bool { return first.count.Load() == 1 })
	idle := a.dial() // nobody knows when that says something
	_, _ = io.WriteString(idle, "G")
	a.Depart(&ferry{t: t, to: b, park: park})
	left := make(chan bool)
	conn := a.Server.(*tracker).all()[0]
	go func() {
		a.Finish(t.Context())
		conn.mu.Lock()
		defer conn.mu.Unlock()
		left <- conn.fate != here
	}()
	close(first.hold)
	if name, err := told(client.r, "GET", "/one", 0); name != "a" || err != nil {
		t.Errorf("answered by %q, %v", name, err)
	}
	if !<-left {
		t.Error("Finish has returned before the connection left")
	}
	_, _ = fmt.Fprintf(client, get, "/two")
	if name, err := told(client.r, "GET", "/two", 0); name != "b" || err != nil {
		t.Errorf("answered by %q, %v", name, err)
	}
}

// slowDeparture takes its time.
type slowDeparture struct{ begun, goOn chan struct{} }

func (slowDeparture) Ask([]live.Conn) {}

func (d slowDeparture) Move(live.Conn) bool {
	close(d.begun)
	<-d.goOn
	return false
}

// Finish does not return while a connection is on its way to the departure.
func TestFinishLast(t *testing.T) {
	n := newNode(t, "tcp", &http.Server{Handler: http.HandlerFunc(echo)}, false)
	client := newClient(t, n.dial())
	client.get("/", false)
	d := slowDeparture{make(chan struct{}), make(chan struct{})}
	n.Depart(d)
	_, _ = fmt.Fprintf(client, get, "/one")
	<-d.begun
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Finish(t.Context())
	}()
	select {
	case <-done:
		t.Error("Finish has returned")
	case <-time.After(20 * time.Millisecond): // long enough, most likely
	}
	close(d.goOn)
	<-done
	client.receive()
}

// nowhere is a Departure to which nothing has gone yet.
type nowhere struct{}

func (nowhere) Ask([]live.Conn)     {}
func (nowhere) Move(live.Conn) bool { return false }

// Who waits in Finish is told when a connection will not leave any more: when all stay, when it is closed by force while its
// handler goes on, and when the program has taken it.
func TestFinishOver(t *testing.T) {
	for name, end := range map[string]func(n *node, c *tracked){
		"all stay":  func(n *node, _ *tracked) { n.Stay() },
		"forced":    func(_ *node, c *tracked) { c.t.st.conns.abort() },
		"not moved": func(_ *node, c *tracked) { c.pin() },
	} {
		t.Run(name, func(t *testing.T) {
			n, tr, answer := finishing(t)
			defer answer()
			done := make(chan struct{})
			go func() {
				defer close(done)
				n.Finish(t.Context())
			}()
			await(t, "Finish", func() bool { return waits(&tr.parted) })
			end(n, tr.all()[0])
			<-done
		})
	}
}

// Whoever waits for a broadcast is told, however many wait.
func TestBeat(t *testing.T) {
	var b broadcast
	b.send() // for nobody
	first, second := b.next(), b.next()
	select {
	case <-first:
		t.Fatal("a broadcast that is over is told")
	default:
	}
	b.send()
	<-first
	<-second
	if waits(&b) {
		t.Error("somebody waits")
	}
}

// While Finish waits, clients of connections that do not move are told to leave as in a drain: spread over time, also after
// a revival, and not later because a drain is under way already.
func TestFinishTellsClients(t *testing.T) {
	n, tr, answer := finishing(t)
	defer answer()
	st := tr.st
	old, revive := context.WithCancel(t.Context())
	revive()
	st.drained.Store(&old) // of a generation that was revived
	const over = time.Hour
	st.spread.over, st.spread.base = over, time.Now().Add(-2*over)
	st.spread.begun.Store(0)
	finish := func() (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.Finish(ctx)
		}()
		await(t, "Finish", func() bool { return waits(&tr.parted) })
		return func() {
			cancel()
			<-done
		}
	}
	end := finish()
	due := 0
	for i := range 100 {
		if st.due(fmt.Sprint(i)) {
			due++
		}
	}
	if !st.leave() || due > 10 {
		t.Errorf("clients are told to leave: %t; %d of 100 at once", st.leave(), due)
	}
	end()
	if st.leave() {
		t.Error("clients are told to leave when nobody waits any more")
	}
	drained := st.bidFarewell(new(t.Context()))
	defer drained()
	st.spread.begun.Store(1) // long ago
	defer finish()()
	if got := st.spread.begun.Load(); got != 1 {
		t.Error("a drain that is under way begins anew")
	}
}

// finishing is a node whose connections depart, with a request that is being answered until answer is called.
func finishing(t *testing.T) (n *node, tr *tracker, answer func()) {
	t.Helper()
	h := &teller{name: "a", hold: make(chan struct{})}
	n = newNode(t, "tcp", &http.Server{Handler: h}, false)
	client := newClient(t, n.dial())
	_, _ = fmt.Fprintf(client, get, "/one")
	await(t, "a request", func() bool { return h.count.Load() == 1 })
	n.Depart(nowhere{})
	return n, n.Server.(*tracker), func() { close(h.hold) }
}

// waits reports whether somebody waits for b.
func waits(b *broadcast) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting != nil
}
