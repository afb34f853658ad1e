package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const sentInstead = "the successor must not take descriptors itself; they are sent"

// TestTransports upgrades by both ways under load, over each transport.
func TestTransports(t *testing.T) {
	for _, transport := range []string{"scm_rights", "pidfd"} {
		t.Run(transport, func(t *testing.T) {
			eachUser(t, "tcp", func(t *testing.T, w *world) {
				w.conf.Transport = transport
				owner := w.serving("tcp")
				vs := come(t, w.addr, 4)
				turn := []int{owner.pid}
				for _, way := range []string{"upgrade", "join", "join", "upgrade"} {
					vs.answered(t, owner.pid)
					mark := w.mark()
					next := w.succeed(way, owner, "tcp")
					if e := w.wait(mark, next.pid, "ready", ""); e.Err != "" {
						t.Fatalf("%s: %s", way, e.Err)
					}
					w.ended(owner)
					owner = next
					turn = append(turn, owner.pid)
				}
				vs.answered(t, owner.pid)
				all := vs.leave()
				if got := owners(all, turn[0]); !slices.Equal(got, turn) {
					t.Errorf("owners in turn: %v, want %v", got, turn)
				}
				for _, v := range lost(all) {
					t.Errorf("lost: %v", v)
				}
				if _, fell := w.poll(0, 0, func(e event) bool { return e.Msg == sentInstead }); fell {
					t.Error("descriptors went another way")
				}
			})
		})
	}
}

// refusals are reasons for which the kernel does not let a successor take descriptors.
var refusals = []struct {
	name       string
	user       uint32
	undumpable bool          // the incumbent
	dropped    bool          // the incumbent began as root, and became user by setuid(2)
	other      uint32        // the successor's user, if it is not user
	seccomp    syscall.Errno // in the successor
	wrap       []string      // the successor
	cause      string
}{
	{name: "not dumpable", user: stranger, undumpable: true, cause: "let it call prctl(PR_SET_DUMPABLE, 1)"},
	{name: "dropped root", user: stranger, dropped: true, cause: "let it call prctl(PR_SET_DUMPABLE, 1)"},
	{name: "another user", user: neighbour, other: stranger, cause: "run both as the same user and group"},
	{name: "EPERM", seccomp: unix.EPERM, cause: "allow it in the container's seccomp profile"},
	{name: "EPERM, ordinary user", user: stranger, seccomp: unix.EPERM, cause: "allow it in the container's seccomp profile"},
	{name: "ENOSYS", seccomp: unix.ENOSYS, cause: "needs Linux 5.6, or is filtered"},
	{name: "PID namespace", wrap: []string{"sh", "-c", // its number as we see it, as long as it sees our /proc
		`read SEGUE_TEST_PID rest </proc/self/stat && export SEGUE_TEST_PID && exec unshare --mount-proc "$0"`},
		cause: "PID namespace"},
}

// TestTransportRefused: the automatic transport sends what must not be taken; the explicit one fails, says why, and leaves
// everything as it was.
func TestTransportRefused(t *testing.T) {
	for _, c := range refusals {
		for _, transport := range []string{"", "pidfd"} {
			name := map[string]string{"": "auto"}[transport] + transport
			t.Run(strings.NewReplacer(" ", "_", ",", "").Replace(c.name)+"/"+name, func(t *testing.T) {
				t.Parallel()
				if c.wrap != nil {
					needRoot(t, "to make a PID namespace")
				}
				w := newWorld(t, "tcp")
				if c.user != 0 {
					w.belongTo(c.user)
				}
				if c.other != 0 {
					w.openToAll()
				}
				user := w.cred
				w.conf.Undumpable = c.undumpable
				if c.dropped {
					w.cred, w.conf.SetUID = &syscall.Credential{}, int(c.user)
				}
				a := w.serving("tcp")
				vs := come(t, w.addr, 3)
				vs.answered(t, a.pid)
				w.cred, w.conf.SetUID = user, 0
				if c.other != 0 {
					w.cred = &syscall.Credential{Uid: c.other, Gid: c.other}
				}
				w.conf.Undumpable, w.conf.Seccomp, w.conf.Transport = false, c.seccomp, transport
				w.wrap = c.wrap
				mark := w.mark()
				b := w.start("tcp")
				w.conf.Seccomp, w.conf.Transport, w.wrap = 0, "", nil
				owner := a
				if transport == "" {
					if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
						t.Fatalf("Ready: %s", e.Err)
					}
					if e := w.wait(mark, a.pid, "log", sentInstead); !strings.Contains(e.Err, c.cause) {
						t.Errorf("the incumbent's log does not say why: %q", e.Err)
					}
					w.ended(a)
					owner = b
				} else {
					w.cred = user
					e := w.wait(mark, b.pid, "join", "")
					if !strings.Contains(e.Is, "transport") || !strings.Contains(e.Err, c.cause) || !strings.Contains(e.Err, "Config.Transport") {
						t.Errorf("Join: %q, errors.Is says %q", e.Err, e.Is)
					}
					w.ended(b)
				}
				vs.answered(t, owner.pid)
				for _, v := range lost(vs.leave()) {
					t.Errorf("lost: %v", v)
				}
				faultCase{way: "upgrade"}.goOn(t, w, owner)
			})
		}
	}
}

// TestTransportRefusedUpgrade: the same as the one sees it that starts its successor.
func TestTransportRefusedUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.belongTo(stranger)
	w.conf.Undumpable, w.conf.Transport = true, "pidfd"
	a := w.serving("tcp")
	vs := come(t, w.addr, 3)
	vs.answered(t, a.pid)
	b := w.upgrade(a)
	e := w.wait(0, a.pid, "upgrade", "")
	if !strings.Contains(e.Err, "PR_SET_DUMPABLE") || !strings.Contains(e.Err, "Config.Transport") {
		t.Errorf("Upgrade: %q, errors.Is says %q", e.Err, e.Is)
	}
	w.ended(b)
	vs.answered(t, a.pid)
	for _, v := range lost(vs.leave()) {
		t.Errorf("lost: %v", v)
	}
	soleOwner(t, w.addr, a.pid)
}

// openToAll makes it a world in which processes of several users hand over to each other.
func (w *world) openToAll() {
	w.t.Helper()
	for name, mode := range map[string]os.FileMode{w.dir: 0o777, w.conf.Events: 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			w.t.Fatal(err)
		}
	}
	w.conf.AnyUser, w.conf.Everyone = true, true
}

// TestTransportNoCopies: an incumbent that has no room for the copies that its successor would take sends its own, and
// says whose lack it is. Who insists on the other way is told. An incumbent that does keeps room for the copies, but no more
// than a quarter of what it may have.
func TestTransportNoCopies(t *testing.T) {
	for _, c := range []struct{ incumbent, successor, start, is, says string }{
		{"", "", "", "", ""},
		{"", "pidfd", "", "transport", "the incumbent (process %d) sends its descriptors; its log says why"},
		{"pidfd", "", "", "", ""},
		// A quarter is too little for the copies, and the rest is enough.
		{"pidfd", "", "nofile=224", "aborted", "the incumbent (process %d) says: "},
	} {
		t.Run(c.incumbent+"_"+c.successor+"_"+c.start, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			const many, few = 60, 4 // sockets; and descriptors that are free
			for i := range many {
				w.conf.Listen = append(w.conf.Listen, fmt.Sprintf("unix/%s/%d", w.dir, i))
			}
			w.conf.Transport, w.conf.Start = c.incumbent, c.start
			a := w.serving("tcp")
			w.conf.Start = ""
			open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.pid))
			if err != nil {
				t.Fatal(err)
			}
			var was unix.Rlimit
			if err := unix.Prlimit(a.pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
				t.Fatal(err)
			}
			room := unix.Rlimit{Cur: uint64(len(open) + few), Max: was.Max}
			if err := unix.Prlimit(a.pid, unix.RLIMIT_NOFILE, &room, nil); err != nil {
				t.Fatal(err)
			}
			w.conf.Transport = c.successor
			b := w.start("tcp")
			w.conf.Transport = ""
			e := w.wait(0, b.pid, "join", "")
			if c.says == "" {
				if e.Err != "" {
					t.Fatalf("Join: %s", e.Err)
				}
			} else if says := fmt.Sprintf(c.says, a.pid); !strings.Contains(e.Is, c.is) || !strings.Contains(e.Err, says) {
				t.Errorf("Join: %q, errors.Is says %q; want %q", e.Err, e.Is, says)
			}
			if c.incumbent == "" {
				e = w.wait(0, a.pid, "log", "this process cannot let its successor take descriptors; they are sent")
			}
			if kept := c.incumbent != "" && c.start == ""; kept {
				if e.Err != "" {
					t.Fatalf("Join: %s", e.Err)
				}
			} else if !strings.Contains(e.Err, "the incumbent has no room") || !strings.Contains(e.Err, "RLIMIT_NOFILE") {
				t.Errorf("the cause is not said: %q", e.Err)
			}
			owner := a
			if c.says == "" {
				w.ended(a)
				owner = b
			} else {
				w.ended(b)
				if err := unix.Prlimit(a.pid, unix.RLIMIT_NOFILE, &was, nil); err != nil {
					t.Fatal(err)
				}
			}
			faultCase{way: "upgrade"}.goOn(t, w, owner)
		})
	}
}

// TestPtracer: for Yama's scope 1 the incumbent allows its successor, and nobody else, to take from it, and withdraws that
// when all is taken, or refused. There is no Yama here; what it would be told is intercepted.
func TestPtracer(t *testing.T) {
	for _, c := range []struct {
		name    string
		seccomp syscall.Errno
		fault   string
	}{
		{"taken", 0, ""},
		{"refused", unix.EPERM, ""},
		{"died", 0, "kill received offer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			w.conf.Ptracer, w.conf.Traced = true, true
			a := w.serving("tcp")
			w.conf.Ptracer, w.conf.Traced, w.conf.Seccomp, w.conf.Fault = false, false, c.seccomp, c.fault
			mark := w.mark()
			b := w.start("tcp")
			allowed := w.wait(mark, a.pid, "ptracer", "")
			if allowed.N != b.pid {
				t.Errorf("allowed to %d, want %d", allowed.N, b.pid)
			}
			w.await(mark, "withdrawn", func(e event) bool {
				return e.PID == a.pid && e.Ev == "ptracer" && e.N == 0
			})
			if c.fault != "" {
				w.ended(b)
				soleOwner(t, w.addr, a.pid)
				return
			}
			if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
				t.Fatalf("Ready: %s", e.Err)
			}
			w.ended(a)
			want := []string{fmt.Sprint("allowed ", b.pid), "offer", "allowed 0"}
			if c.seccomp != 0 {
				want = append(want, "offer") // which is after the withdrawal
			}
			if got := w.allowed(a); !slices.Equal(got, want) {
				t.Errorf("the incumbent did %q, want %q", got, want)
			}
		})
	}
}

// allowed is when a process called PR_SET_PTRACER, and for whom, and when it sent an OFFER, if that was traced.
func (w *world) allowed(p *proc) (did []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		switch {
		case e.PID != p.pid:
		case e.Ev == "ptracer":
			did = append(did, fmt.Sprint("allowed ", e.N))
		case e.Ev == "sent" && e.Msg == "offer":
			did = append(did, e.Msg)
		}
	}
	return did
}

// TestPtracerTogether: two generations of one process hand over at the same time. A process has one PR_SET_PTRACER, so one
// of them waits; if the other does not get on it sends its descriptors.
func TestPtracerTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "embed")
	w.conf.Listen = append(w.conf.Listen, "tcp/"+strings.Replace(w.addr, ":7000", ":7001", 1))
	w.conf.StepTimeout = 3 * time.Second
	join := func(fault string, chains ...int) *proc {
		w.conf.Fault, w.conf.Chains = fault, chains
		return w.start("embed")
	}
	ready := func(p *proc, chain int) {
		t.Helper()
		if e := w.wait(0, p.pid, fmt.Sprintf("ready%d", chain), ""); e.Err != "" {
			t.Fatalf("pid %d, chain %d: %s", p.pid, chain, e.Err)
		}
	}
	w.conf.Ptracer = true
	both := join("", 0, 1)
	ready(both, 0)
	ready(both, 1)
	w.conf.Ptracer = false

	first := join("stop received offer", 0)
	w.wait(0, both.pid, "ptracer", "")
	w.stopped(first)
	second := join("", 1)
	ready(second, 1)
	w.signal(first, unix.SIGKILL)
	w.ended(first)
	w.await(0, "withdrawal", func(e event) bool { return e.PID == both.pid && e.Ev == "ptracer" && e.N == 0 })
	third := join("", 0)
	ready(third, 0)
	w.ended(both)
	got := w.allowed(both)
	for i, did := range got {
		if (did == "allowed 0") != (i%2 == 1) {
			t.Fatalf("both allowed something at the same time: %q", got)
		}
	}
	if n := len(got); n < 4 || n%2 != 0 || got[0] != fmt.Sprint("allowed ", first.pid) || got[n-2] != fmt.Sprint("allowed ", third.pid) {
		t.Errorf("the incumbent did %q", got)
	}
}

// TestTransportFaults hits each side over each transport where it matters which one it is: while descriptors move. The rest
// is TestFaults, over the automatic one.
func TestTransportFaults(t *testing.T) {
	for _, c := range []faultCase{
		{side: "successor", action: "kill", at: "received offer", want: kept},
		{side: "successor", action: "stop", at: "received offer", late: true, want: kept},
		{side: "successor", action: "stop", at: "received offer", want: moved},
		{side: "successor", action: "kill", at: "sent taken", want: kept},
		{side: "successor", action: "kill", at: "sent owned", want: revived},
		{side: "incumbent", action: "kill", at: "sent offer", want: either},
		{side: "incumbent", action: "stop", at: "sent offer", late: true, want: kept},
		{side: "incumbent", action: "kill", at: "received taken", want: moved},
	} {
		for _, c.transport = range []string{"scm_rights", "pidfd"} {
			for _, c.way = range []string{"upgrade", "join"} {
				c := c
				if c.transport == "scm_rights" && c.want == either {
					c.want = moved // it has them, whether or not the incumbent lives
				}
				t.Run(c.transport+"/"+c.name(), func(t *testing.T) {
					t.Parallel()
					c.run(t)
				})
			}
		}
	}
}
