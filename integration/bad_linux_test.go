package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBadSuccessors starts successors that are no good before they own anything: the incumbent serves on, loses nothing
// and says why.
func TestBadSuccessors(t *testing.T) {
	hello := fmt.Sprintf(`{"type":"hello","versions":[1],"name":"bad","pid":%d}`, 1)
	prepared := func(receipts string) string {
		return `{"type":"prepared","batch":0,"last":true,"receipts":[` + receipts + `]}`
	}
	taken := `{"type":"taken","batch":0}`
	for _, c := range []struct {
		name string
		role string
		conf func(*conf)
		ways []string
		want []string // in the error of Upgrade, or in the incumbent's log
		is   string
	}{
		{"exit 3", "tcp", func(c *conf) { c.Start = "exit3" }, []string{"upgrade"},
			[]string{"exit status 3", "first line of output", "cannot find my configuration"}, "died"},
		{"hang before Join", "tcp", func(c *conf) { c.Start = "hang" }, []string{"upgrade"},
			[]string{"waiting for a database", "signal: "}, "timeout"},
		{"hang before Ready", "tcp", func(c *conf) { c.Start = "hang-joined" }, []string{"upgrade", "join"},
			[]string{"did not become ready"}, "timeout"},
		{"no descriptors", "tcp", func(c *conf) { c.Start = "nofile=+16" }, []string{"upgrade", "join"},
			[]string{"too many open files|RLIMIT_NOFILE"}, "aborted"},
		{"garbage", "raw", func(c *conf) { c.Raw = []string{"\xff\x00 garbage"} }, []string{"join", "upgrade"},
			[]string{"protocol violation"}, "protocol"},
		{"no HELLO", "raw", func(c *conf) { c.Raw = []string{taken} }, []string{"join", "upgrade"},
			[]string{"unexpected taken"}, "protocol"},
		{"wrong version", "raw", func(c *conf) { c.Raw = []string{`{"type":"hello","versions":[77],"name":"bad","pid":1}`} },
			[]string{"join", "upgrade"}, []string{"[77]"}, ""},
		{"wrong batch", "raw", func(c *conf) { c.Raw = []string{hello, `{"type":"taken","batch":7}`} },
			[]string{"join", "upgrade"}, []string{"TAKEN 7"}, "protocol"},
		{"OWNED at once", "raw", func(c *conf) { c.Raw = []string{hello, `{"type":"owned"}`} },
			[]string{"join", "upgrade"}, []string{"unexpected owned"}, "protocol"},
		{"no receipts", "raw", func(c *conf) { c.Raw = []string{hello, taken, prepared("")} },
			[]string{"join", "upgrade"}, []string{"0 receipts"}, "protocol"},
		{"wrong receipts", "raw", func(c *conf) {
			var r []string
			for i := range 22 {
				r = append(r, fmt.Sprintf(`{"item":%d,"claimed":true,"cookie":"1","dev":"2","ino":"3","flags":2}`, i))
			}
			c.Raw = []string{hello, taken, prepared(strings.Join(r, ","))}
		}, []string{"join", "upgrade"}, []string{"does not match|22 receipts for 24 items"}, "protocol"},
		{"silent", "raw", func(c *conf) { c.Raw = nil }, []string{"join", "upgrade"}, []string{"first word"}, "timeout"},
	} {
		for _, way := range c.ways {
			t.Run(strings.ReplaceAll(c.name+"/"+way, " ", "_"), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, "tcp")
				w.conf.ReadyTimeout = 1500 * time.Millisecond
				if c.role == "raw" { // it does not hang up by itself
					w.conf.StepTimeout = time.Second
				}
				for i := range 20 {
					w.conf.Listen = append(w.conf.Listen, fmt.Sprintf("unix/%s/%d", w.dir, i))
				}
				if way == "upgrade" && c.role == "raw" {
					w.conf.SpawnRole = "raw"
				}
				a := w.serving("tcp")
				vs := come(t, w.addr, 3)
				vs.answered(t, a.pid)
				good := w.conf
				c.conf(&w.conf)
				mark := w.mark()
				b := w.succeed(way, a, c.role)
				e := w.await(mark, "the incumbent's error", func(e event) bool {
					if way == "upgrade" {
						return e.PID == a.pid && e.Ev == "upgrade"
					}
					return e.PID == a.pid && e.Ev == "log" && (e.Msg == "handover failed" || e.Msg == "a caller was turned away")
				})
				for _, want := range c.want {
					says := func(s string) bool { return strings.Contains(e.Err, s) }
					if !slices.ContainsFunc(strings.Split(want, "|"), says) {
						t.Errorf("the error does not say %q: %q", want, e.Err)
					}
				}
				if way == "upgrade" {
					w.ended(b) // its error tells how
					if !strings.Contains(e.Is, c.is) {
						t.Errorf("errors.Is says %q, want %q: %s", e.Is, c.is, e.Err)
					}
				}
				vs.answered(t, a.pid)
				all := vs.leave()
				if got := owners(all, a.pid); !slices.Equal(got, []int{a.pid}) {
					t.Errorf("owners in turn: %v, want %d", got, a.pid)
				}
				for _, v := range lost(all) {
					t.Errorf("lost: %v", v)
				}
				w.conf = good
				w.conf.SpawnRole = ""
				if way == "upgrade" && c.role == "raw" {
					way = "upgrade then" // its Upgrade starts only raw ones
				}
				faultCase{way: strings.Replace(way, "join", "upgrade", 1)}.goOn(t, w, a)
			})
		}
	}
}

// TestEndsInGuard ends a successor while the incumbent guards it: what was somebody's wish revives nobody, anything
// else does.
func TestEndsInGuard(t *testing.T) {
	for _, c := range []struct {
		name   string
		usr1   string
		signal unix.Signal
		revive bool
	}{
		{"exit 4", "exit4", unix.SIGUSR1, true},
		{"SIGKILL", "", unix.SIGKILL, true},
		{"SIGSEGV", "", unix.SIGSEGV, true},
		{"exit 0", "exit0", unix.SIGUSR1, false},
		{"Close", "close", unix.SIGUSR1, false},
		{"SIGTERM unhandled", "", unix.SIGTERM, false},
		{"SIGTERM handled", "", unix.SIGTERM, false},
		{"SIGINT", "", unix.SIGINT, false},
	} {
		for _, way := range []string{"upgrade", "join", "join old"} {
			way, kernel, _ := strings.Cut(way, " ")
			if kernel != "" && !unseen(c.name) {
				continue
			}
			t.Run(strings.TrimSuffix(strings.ReplaceAll(c.name+"/"+way+"/"+kernel, " ", "_"), "/"), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, "tcp")
				w.conf.Kernel = kernel
				revive := c.revive || unseen(c.name) && way == "join" && !tellsExit(t, kernel)
				w.conf.Guard, w.conf.USR1 = time.Minute, c.usr1
				w.conf.Unhandled = c.name == "SIGTERM unhandled"
				a := w.serving("tcp")
				vs := come(t, w.addr, 3)
				vs.answered(t, a.pid)
				mark := w.mark()
				b := w.succeed(way, a, "tcp")
				w.wait(mark, a.pid, "phase", "draining")
				vs.answered(t, b.pid)
				struck := time.Now()
				w.signal(b, c.signal)
				if !revive {
					w.ended(b)
					if e := w.wait(mark, a.pid, "wait", ""); e.Err != "" {
						t.Errorf("Wait of the incumbent: %s", e.Err)
					}
					w.ended(a)
					vs.leave()
					faultCase{way: way}.goOn(t, w, nil)
					return
				}
				w.wait(mark, a.pid, "log", "this generation serves again")
				vs.answered(t, a.pid)
				all := vs.leave()
				if got := owners(all, a.pid); !slices.Equal(got, []int{a.pid, b.pid, a.pid}) {
					t.Errorf("owners in turn: %v, want %d, %d and again the first", got, a.pid, b.pid)
				}
				for _, v := range lost(all) {
					if !(faultCase{side: "successor", want: revived}).excused(v, a, b, struck) {
						t.Errorf("lost: %v; hit at %v", v, struck)
					}
				}
				faultCase{way: way}.goOn(t, w, a)
			})
		}
	}
}
