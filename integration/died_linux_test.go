package integration

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDiesAfterGuard ends a successor after the guard, while its predecessor still drains. If nobody wished that, the
// predecessor says so, drains, and ends with an error, so that a supervisor acts.
func TestDiesAfterGuard(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*world, *proc)
		died bool
	}{
		{"SIGKILL", by(unix.SIGKILL), true},
		{"SIGSEGV", by(unix.SIGSEGV), true},
		{"exit 4", usr1("exit4"), true},
		{"exit 0", usr1("exit0"), false},
		{"Close", usr1("close"), false},
		{"SIGTERM handled", by(unix.SIGTERM), false},
		{"SIGTERM unhandled", unhandled, false},
		{"SIGINT", by(unix.SIGINT), false},
	} {
		for _, way := range append(slices.Clone(ways), "join old") {
			way, kernel, _ := strings.Cut(way, " ")
			if kernel != "" && !unseen(c.name) {
				continue
			}
			t.Run(strings.TrimSuffix(strings.ReplaceAll(c.name, " ", "_")+"/"+way+"/"+kernel, "/"), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, "tcp")
				w.conf.Kernel = kernel
				died := c.died || unseen(c.name) && way == "join" && !tellsExit(t, kernel)
				w.conf.Guard = 50 * time.Millisecond
				a := w.serving("tcp")
				let := hold(t, w.addr, a.pid)
				switch c.name { // what the successor is to do
				case "exit 4", "exit 0", "Close":
					w.conf.USR1 = map[string]string{"exit 4": "exit4", "exit 0": "exit0", "Close": "close"}[c.name]
				case "SIGTERM unhandled":
					w.conf.Unhandled = true
				}
				b := w.take(way, a, "tcp")
				w.await(0, "the release", func(e event) bool {
					return e.PID == a.pid && e.Ev == "log" && strings.HasPrefix(e.Msg, "released")
				})
				c.end(w, b)
				w.ended(b)
				if died {
					w.nobodyServes(a)
				}
				if !a.alive() {
					t.Fatal("the predecessor does not drain")
				}
				let()
				w.endsWith(a, died)
			})
		}
	}
}

func by(s unix.Signal) func(*world, *proc) { return func(w *world, p *proc) { w.signal(p, s) } }

func usr1(string) func(*world, *proc) { return by(unix.SIGUSR1) }

func unhandled(w *world, p *proc) { w.signal(p, unix.SIGTERM) }

// nobodyServes waits until p says so.
func (w *world) nobodyServes(p *proc) {
	w.t.Helper()
	w.await(0, "an error that nobody serves", func(e event) bool {
		return e.PID == p.pid && e.Ev == "log" && e.N == 8 && strings.Contains(e.Msg, "nobody serves")
	})
}

// endsWith waits for the end of p, which is to say that its successor has died, or not.
func (w *world) endsWith(p *proc, died bool) {
	w.t.Helper()
	e := w.wait(0, p.pid, "wait", "")
	if strings.Contains(e.Is, "successordied") != died || !died && e.Err != "" {
		w.t.Errorf("Wait: %q, %q", e.Err, e.Is)
	}
	code := w.wait(0, p.pid, "exit", "").N
	w.ended(p)
	if (code != 0) != died {
		w.t.Errorf("it ends with status %d", code)
	}
	if _, said := w.poll(0, time.Millisecond, func(e event) bool {
		return e.PID == p.pid && strings.Contains(e.Msg, "nobody serves")
	}); said != died {
		w.t.Errorf("it says that nobody serves: %t", said)
	}
}

// TestDiesAfterGuardServe is the same for serve.Run, whose clients are answered to the end.
func TestDiesAfterGuardServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "http")
	w.conf.Guard = 50 * time.Millisecond
	a := w.start("http")
	w.wait(0, a.pid, "phase", "serving")
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	// A request whose body is not complete keeps its connection where it is. That a handler has it, 100 Continue says.
	r := bufio.NewReader(c)
	said := func(want string) {
		t.Helper()
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+want) {
			t.Fatalf("%q, %v; want status %s", line, err, want)
		}
	}
	_, _ = c.Write([]byte("POST /upload?token=t HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"))
	said("100")
	_, _ = r.ReadString('\n')
	b := w.take("join", a, "http")
	w.await(0, "the release", func(e event) bool {
		return e.PID == a.pid && e.Ev == "log" && strings.HasPrefix(e.Msg, "released")
	})
	w.signal(b, unix.SIGKILL)
	w.nobodyServes(a)
	_, _ = c.Write([]byte("body"))
	said("200")
	_ = c.Close()
	w.endsWith(a, true)
}

// TestSuccessorHasSuccessor: the death of a successor that has handed over to one of its own is nobody's business, unless
// it has been revived since.
func TestSuccessorHasSuccessor(t *testing.T) {
	for _, c := range []struct {
		name  string
		guard time.Duration // of the one in the middle
		died  bool          // the third dies first, within that guard
	}{
		{"released", 50 * time.Millisecond, false},
		{"guarding", time.Minute, false},
		{"revived", time.Minute, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			w.conf.Guard = 50 * time.Millisecond
			a := w.serving("tcp")
			let := hold(t, w.addr, a.pid)
			defer let()
			w.conf.Guard = c.guard
			b := w.take("join", a, "tcp")
			defer hold(t, w.addr, b.pid)() // or it might end by itself
			third := w.take("join", b, "tcp")
			if c.died {
				mark := w.mark()
				w.signal(third, unix.SIGKILL)
				w.wait(mark, b.pid, "phase", "serving")
			}
			w.signal(b, unix.SIGKILL)
			w.ended(b)
			if c.died {
				w.nobodyServes(a)
			} else {
				soleOwner(t, w.addr, third.pid)
			}
			let()
			w.endsWith(a, c.died)
		})
	}
}
