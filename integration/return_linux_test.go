package integration

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/raw"
)

// returnWorld has n idle connections of HTTP that have moved to a successor, which fails on SIGUSR1. Half of them it has
// answered, the others are parked there.
func returnWorld(t *testing.T, way string, n int, successor func(*conf)) (w *world, a, b *proc, ks []*lane) {
	t.Helper()
	w = newLive(t, "tcp")
	w.conf.Guard = time.Minute
	a = w.firstHTTP()
	ks = w.crowd(n, a.pid)
	w.conf.USR1 = "fail"
	if successor != nil {
		successor(&w.conf)
	}
	b = w.take(way, a, "http")
	w.wait(0, a.pid, "log", "connections moved")
	for _, k := range ks[:n/2] {
		k.answeredBy(t, b.pid)
	}
	w.conf.USR1, w.conf.Fault = "", ""
	return w, a, b, ks
}

// TestFailReturnsConnections: a successor that fails within the guard gives back the connections that had moved, too. The
// client of none of them notices.
func TestFailReturnsConnections(t *testing.T) {
	for i, how := range []string{"fail", "server", "fail", "stop"} {
		way := ways[i%2]
		t.Run(how+"/"+way, func(t *testing.T) {
			t.Parallel()
			const n = 500
			w, a, b, ks := returnWorld(t, way, n, func(c *conf) {
				if how == "server" {
					c.USR1 = "server"
				}
			})
			mark := w.mark()
			w.signal(b, unix.SIGUSR1)
			if how == "stop" { // by somebody who is impatient
				w.wait(mark, b.pid, "failed", "")
				w.signal(b, unix.SIGTERM)
			}
			w.wait(mark, a.pid, "log", "this generation serves again")
			if e := w.wait(mark, b.pid, "wait", ""); how == "fail" && e.Is != "handedback" {
				t.Errorf("the successor's end: %q is %q", e.Err, e.Is)
			}
			w.ended(b)
			w.reaped(b)
			count(t, ks).allBy(t, a.pid, n)
			w.conf.Guard = 400 * time.Millisecond
			c := w.take(way, a, "http")
			moveCase{}.settled(t, w, ks, c)
			w.signal(a, unix.SIGTERM) // its guard is long
			w.ended(a)
		})
	}
}

// reaped waits until nothing is left of a process that has ended.
func (w *world) reaped(p *proc) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); exists(p.pid); time.Sleep(time.Millisecond) { // nothing tells
		if time.Now().After(deadline) {
			w.t.Fatalf("pid %d has ended, and nobody asks how", p.pid)
		}
	}
}

// TestFailReturnsWhileAsked: clients that never pause lose nothing by it, also if one successor after the other fails, and
// nothing is left of them in the incumbent.
func TestFailReturnsWhileAsked(t *testing.T) {
	t.Parallel()
	const n = 200
	w, a, b, ks := returnWorld(t, "join", n, nil)
	var before event
	for i := range 4 {
		mark := w.mark()
		w.signal(b, unix.SIGUSR1)
		w.wait(mark, a.pid, "log", "this generation serves again")
		moveCase{}.settled(t, w, ks, a) // asks all the time
		w.ended(b)
		w.wait(mark, a.pid, "log", "connections returned")
		switch i {
		case 0:
			before = w.stats(a, 1<<20, 1<<20)
		case 3:
			if e := w.stats(a, before.FDs, before.Gs); e.FDs > before.FDs || e.Gs > before.Gs {
				t.Errorf("descriptors and goroutines: %d and %d, after the first that failed %d and %d", e.FDs, e.Gs, before.FDs, before.Gs)
			}
			return
		}
		w.conf.USR1 = "fail"
		b = w.take(ways[i%2], a, "http")
	}
}

// TestFailReturnsGifts: the same for connections that the program has given and taken.
func TestFailReturnsGifts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lines")
	w.conf.DrainTimeout, w.conf.Guard = time.Minute, time.Minute
	a := w.serving("lines")
	var ks []*talker
	for range 300 {
		k, err := w.talker()
		if err == nil {
			err = k.say(nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		ks = append(ks, k)
	}
	w.conf.USR1 = "fail"
	b := w.take("join", a, "lines")
	for _, k := range ks[:100] {
		if err := k.say(nil); err != nil {
			t.Fatal(err)
		}
	}
	mark := w.mark()
	w.signal(b, unix.SIGUSR1)
	w.wait(mark, a.pid, "log", "this generation serves again")
	w.ended(b)
	for i, k := range ks {
		if err := k.say(nil); err != nil || k.pid != a.pid {
			t.Errorf("user %d: answered by %d, %v; want %d", i, k.pid, err, a.pid)
		}
	}
}

// TestCheckFailsWhileAnswering: what a successor has accepted on probation it answers, also when its check has failed, and
// then the connections go to the incumbent.
func TestCheckFailsWhileAnswering(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newLive(t, "tcp")
			a := w.firstHTTP()
			old := w.crowd(20, a.pid)
			w.conf.Check, w.conf.USR1 = true, "hold"
			mark := w.mark()
			b := w.succeed(way, a, "http")
			w.wait(mark, b.pid, "phase", "probation")
			var ks []*lane
			for i := range 20 {
				k := w.connect(100 + i)
				if err := k.send("/slow?ms=2500&"); err != nil {
					t.Fatal(err)
				}
				ks = append(ks, k)
			}
			idle := w.connect(200)
			idle.answeredBy(t, b.pid)
			w.underWay(ks...)
			w.signal(b, unix.SIGUSR1)
			w.wait(mark, a.pid, "log", "this generation serves again")
			if way == "upgrade" {
				// The caller hears of it soon, and another upgrade may begin.
				e := w.wait(mark, a.pid, "upgrade", "")
				if e.Is != "aborted" || !strings.Contains(e.Err, "still answers what it has accepted") || !b.alive() {
					t.Errorf("Upgrade: %q is %q, and the successor lives: %t", e.Err, e.Is, b.alive())
				}
			}
			for _, k := range ks {
				if pid, leave, err := k.reply(); err != nil || pid != b.pid || leave {
					t.Errorf("connection %d: answered by %d (the last answer: %t), %v; want %d", k.id, pid, leave, err, b.pid)
				}
			}
			w.ended(b)
			w.reaped(b)
			count(t, append(append(ks, idle), old...)).allBy(t, a.pid, 41)
		})
	}
}

// TestAnotherWhileOneReturns: a new successor takes over while connections still come back from one that has failed, and
// gets those too.
func TestAnotherWhileOneReturns(t *testing.T) {
	t.Parallel()
	const n = 100
	w, a, b, ks := returnWorld(t, "join", n, nil)
	slow := ks[0]
	target, open := w.gate()
	if err := slow.send(target); err != nil {
		t.Fatal(err)
	}
	w.underWay(slow)
	mark := w.mark()
	w.signal(b, unix.SIGUSR1)
	w.wait(mark, a.pid, "log", "this generation serves again")
	w.conf.Guard = 400 * time.Millisecond
	c := w.take("upgrade", a, "http")
	moveCase{}.settled(t, w, ks[1:], c)
	if !a.alive() || !b.alive() {
		t.Error("a process has ended on which a connection depends")
	}
	open()
	if pid, leave, err := slow.reply(); err != nil || pid != b.pid || leave {
		t.Errorf("the slow request: answered by %d (the last answer: %t), %v; want %d", pid, leave, err, b.pid)
	}
	w.ended(b)
	slow.answeredBy(t, c.pid)
	w.signal(a, unix.SIGTERM) // its guard is long
	w.ended(a)
	count(t, ks).allBy(t, c.pid, n)
}

// TestDeathWhileReturning kills a successor while connections go back. What the incumbent has acknowledged lives; nothing
// else hangs on that.
func TestDeathWhileReturning(t *testing.T) {
	for i, fault := range []string{"kill sent failed", "kill received confirm", "kill sent conns#2", "kill received taken#2", "stop sent conns#2"} {
		t.Run(strings.ReplaceAll(fault, " ", "_"), func(t *testing.T) {
			t.Parallel()
			const n = 800
			w, a, b, ks := returnWorld(t, ways[i%2], n, func(c *conf) { c.Fault = fault })
			mark := w.mark()
			w.signal(b, unix.SIGUSR1)
			w.wait(mark, b.pid, "fault", "")
			w.wait(mark, a.pid, "log", "this generation serves again")
			if fault[:4] == "stop" {
				w.stopped(b)
				w.connect(n+1).answeredBy(t, a.pid) // meanwhile
				w.signal(b, unix.SIGCONT)
				w.ended(b)
				count(t, ks).allBy(t, a.pid, n)
				return
			}
			w.ended(b)
			got := count(t, ks)
			taken := w.count(mark, of(a.pid, "sent", "taken"))
			t.Logf("%d of %d connections are gone, %d batches acknowledged", got.dropped, n, taken)
			if got.by[a.pid]+got.dropped != n || got.by[a.pid] < taken {
				t.Errorf("of %d connections, of which %d batches came back: %+v", n, taken, got)
			}
			w.conf.Guard = 400 * time.Millisecond
			c := w.take("upgrade", a, "http")
			moveCase{}.settled(t, w, got.stay, c)
		})
	}
}

// TestReturnToNobody: if the incumbent dies when the sockets have gone back to it, those who have a connection get an answer,
// and are told to leave.
func TestReturnToNobody(t *testing.T) {
	t.Parallel()
	const n = 200
	w := newLive(t, "tcp")
	w.conf.Guard = time.Minute
	w.conf.Fault = "kill received failed"
	a := w.firstHTTP()
	ks := w.crowd(n, a.pid)
	w.conf.USR1, w.conf.Fault = "fail", ""
	b := w.take("join", a, "http")
	w.wait(0, a.pid, "log", "connections moved")
	for _, k := range ks[:n/2] {
		k.answeredBy(t, b.pid)
	}
	w.signal(b, unix.SIGUSR1)
	w.ended(a)
	told := 0
	for deadline := time.Now().Add(patience); len(ks) > 0 && time.Now().Before(deadline); { // nothing tells that its death is known
		got := count(t, ks)
		if told += got.leaving[b.pid]; got.dropped > 0 {
			t.Fatalf("of %d connections: %+v", n, got)
		}
		ks = got.stay
	}
	if told != n {
		t.Errorf("%d of %d clients were told to leave", told, n)
	}
	w.ended(b)
}

// TestFailedForTooLong: a successor that Upgrade has started and that has handed back does not drain for ever.
func TestFailedForTooLong(t *testing.T) {
	t.Parallel()
	w := newLive(t, "tcp")
	w.conf.DrainTimeout, w.conf.StepTimeout = 700*time.Millisecond, 700*time.Millisecond
	a := w.firstHTTP()
	w.conf.DrainTimeout, w.conf.Check, w.conf.USR1 = time.Minute, true, "hold"
	mark := w.mark()
	b := w.upgrade(a)
	w.wait(mark, b.pid, "phase", "probation")
	k := w.connect(1)
	target, _ := w.gate()
	if err := k.send(target); err != nil {
		t.Fatal(err)
	}
	w.underWay(k)
	w.signal(b, unix.SIGUSR1)
	w.wait(mark, a.pid, "log", "the failed successor has not drained in time and was killed")
	w.ended(b)
	w.reaped(b)
	w.connect(3).answeredBy(t, a.pid)
}

// TestConnectionsReturn lets six successors fail, one after the other, while clients ask in all the ways that package raw
// knows. Each keeps its one connection, and each request is handled once.
func TestConnectionsReturn(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			w := newLive(t, network)
			w.conf.Guard = time.Minute
			a := w.firstHTTP()
			run := w.asked(raw.Options{Clients: 3})
			busy(t, run, 100)
			w.conf.USR1 = "fail"
			for i := range 6 {
				b := w.take(ways[i%2], a, "http")
				run.Upgraded()
				if i%3 > 0 { // otherwise in the midst of the move
					busy(t, run, 100)
				}
				mark := w.mark()
				w.signal(b, unix.SIGUSR1)
				w.wait(mark, a.pid, "log", "this generation serves again")
				run.Upgraded()
				busy(t, run, 100)
				w.ended(b)
				if run.Alive() == 0 {
					break
				}
			}
			run.Stop()
			res := run.Wait()
			if err := res.Err(); err != nil {
				t.Error(err)
			}
			w.handledOnce(res)
			for _, m := range res.Modes {
				if m.Last[a.pid] != m.Clients {
					t.Errorf("%s: of %d clients the incumbent, %d, has answered the last request of %d: %v", m.Mode, m.Clients,
						a.pid, m.Last[a.pid], m.Last)
				}
			}
		})
	}
}
