package integration

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
	successor  uint32        // its user, if that is another
	dropped    bool          // the incumbent, by setuid, to user
	undumpable bool          // the incumbent
	seccomp    syscall.Errno // in the successor
	wrap       []string      // the successor
	cause      string
}{
	{name: "not dumpable", user: stranger, undumpable: true, cause: "let it call prctl(PR_SET_DUMPABLE, 1)"},
	{name: "dropped root", user: stranger, dropped: true, cause: "let it call prctl(PR_SET_DUMPABLE, 1)"},
	{name: "another user", user: stranger, successor: 54321, cause: "run both as the same user"},
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
				if c.wrap != nil && os.Getuid() != 0 {
					missing(t, "root, to make a PID namespace")
				}
				w := newWorld(t, "tcp")
				if c.user != 0 {
					w.belongTo(c.user)
				}
				if c.successor != 0 {
					w.conf.AnyUser, w.conf.Rescue = true, "all"
					for name, mode := range map[string]os.FileMode{w.dir: 0o777, w.conf.Events: 0o666} {
						if err := os.Chmod(name, mode); err != nil {
							t.Fatal(err)
						}
					}
				}
				w.conf.Undumpable = c.undumpable
				if c.dropped {
					w.conf.Setuid, w.cred = int(c.user), nil
				}
				a := w.serving("tcp")
				if c.dropped {
					w.conf.Setuid = 0
					w.cred = &syscall.Credential{Uid: c.user, Gid: c.user}
				}
				vs := come(t, w.addr, 3)
				vs.answered(t, a.pid)
				w.conf.Undumpable, w.conf.Seccomp, w.conf.Transport = false, c.seccomp, transport
				w.wrap = c.wrap
				mark := w.mark()
				cred := w.cred
				if c.successor != 0 {
					cred = &syscall.Credential{Uid: c.successor, Gid: c.successor}
				}
				b := w.startAs("tcp", cred)
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

// TestTransportShort: an incumbent that has no room for the copies that a successor is to take sends, and does not blame the
// successor; the explicit transport fails, and says what helps.
func TestTransportShort(t *testing.T) {
	for _, transport := range []string{"", "pidfd"} {
		t.Run("transport_"+transport, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			for i := range 60 {
				w.conf.Listen = append(w.conf.Listen, "unix/@"+w.dir+strconv.Itoa(i))
			}
			w.conf.Start, w.conf.Transport = "nofile=110", transport
			a := w.serving("tcp")
			w.conf.Start, w.conf.Transport = "", ""
			b := w.start("tcp")
			e := w.wait(0, b.pid, "join", "")
			if transport == "pidfd" {
				if !strings.Contains(e.Err, "the incumbent has no room") || !strings.Contains(e.Err, "RLIMIT_NOFILE") {
					t.Errorf("Join: %q", e.Err)
				}
				soleOwner(t, w.addr, a.pid)
				return
			}
			if e := w.wait(0, b.pid, "ready", ""); e.Err != "" {
				t.Fatalf("Ready: %s", e.Err)
			}
			if e := w.wait(0, a.pid, "log", "this process has no descriptors free to let the successor take its own; they are sent"); !strings.Contains(e.Err, "RLIMIT_NOFILE") {
				t.Errorf("logged %q", e.Err)
			}
			if _, blamed := w.poll(0, 0, func(e event) bool { return e.Msg == sentInstead }); blamed {
				t.Error("the successor is blamed")
			}
			soleOwner(t, w.addr, b.pid)
		})
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
			w.conf.Ptracer, w.conf.Seccomp, w.conf.Fault = false, c.seccomp, c.fault
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
			w.mu.Lock()
			defer w.mu.Unlock()
			var what []string
			for _, e := range w.events {
				if e.PID == a.pid && e.Ev == "ptracer" {
					what = append(what, map[bool]string{true: "withdrawn", false: "allowed"}[e.N == 0])
				}
				if e.PID == a.pid && e.Ev == "sent" && e.Msg == "offer" {
					what = append(what, "offered")
				}
			}
			want := []string{"allowed", "offered", "withdrawn"}
			if c.seccomp != 0 {
				want = append(want, "offered") // sent
			}
			if !slices.Equal(what, want) {
				t.Errorf("%v, want %v", what, want)
			}
		})
	}
}

// TestPtracerOfTwo: two generations of one process hand over at the same time. The one does not take away what the other has
// allowed, and does not wait for it for ever.
func TestPtracerOfTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "embed")
	w.conf.Listen = append(w.conf.Listen, "tcp/"+strings.Replace(w.addr, ":7000", ":7001", 1))
	w.conf.Chains, w.conf.Ptracer = []int{0, 1}, true
	both := w.start("embed")
	for _, ready := range []string{"ready0", "ready1"} {
		if e := w.wait(0, both.pid, ready, ""); e.Err != "" {
			t.Fatal(e.Err)
		}
	}
	w.conf.Ptracer, w.conf.Chains, w.conf.Fault = false, []int{0}, "stop received offer"
	mark := w.mark()
	first := w.start("embed")
	w.wait(mark, first.pid, "fault", "")
	w.conf.Chains, w.conf.Fault = []int{1}, ""
	second := w.start("embed")
	if e := w.wait(mark, second.pid, "ready1", ""); e.Err != "" {
		t.Errorf("Ready of the second chain: %s", e.Err)
	}
	w.await(mark, "the end of what was allowed to the first", func(e event) bool {
		return e.PID == both.pid && e.Ev == "ptracer" && e.N == 0
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	allowed := 0
	for _, e := range w.events {
		if e.PID != both.pid || e.Ev != "ptracer" {
			continue
		}
		if allowed != 0 && e.N != 0 {
			t.Errorf("allowed to %d, while it is to %d", e.N, allowed)
		}
		allowed = e.N
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
