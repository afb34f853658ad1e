package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eachUser runs a test as the user that the tests run as, and as an ordinary one.
func eachUser(t *testing.T, role string, f func(t *testing.T, w *world)) {
	for _, user := range []uint32{0, stranger} {
		name := map[bool]string{true: "ordinary_user", false: "us"}[user != 0]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, role)
			if user != 0 {
				w.belongTo(user)
			}
			f(t, w)
		})
	}
}

// belongTo makes an ordinary user's world of it, in which start starts processes of that user.
func (w *world) belongTo(user uint32) {
	w.t.Helper()
	needRoot(w.t, "to start a process of another user")
	for _, name := range []string{w.dir, w.conf.Events} {
		if err := os.Chown(name, int(user), int(user)); err != nil {
			w.t.Fatal(err)
		}
	}
	w.cred = &syscall.Credential{Uid: user, Gid: user}
}

// TestRescueStopped: an incumbent that is stopped is replaced, and all who have connected meanwhile are served.
func TestRescueStopped(t *testing.T) {
	eachUser(t, "tcp", func(t *testing.T, w *world) {
		path, abstract := filepath.Join(w.dir, "clients"), "@"+w.dir
		w.conf.Listen = append(w.conf.Listen, "unix/"+path, "unix/"+abstract)
		w.conf.StepTimeout, w.conf.Rescue = 500*time.Millisecond, "on"
		a := w.serving("tcp")
		before := come(t, w.addr, 3)
		before.answered(t, a.pid)
		for _, v := range lost(before.leave()) {
			t.Errorf("lost: %v", v)
		}
		w.signal(a, unix.SIGSTOP)
		w.stopped(a)

		// They wait in the queues from before anybody comes to the rescue.
		waiting := map[string][]net.Conn{}
		for _, at := range []string{"tcp " + w.addr, "unix " + path, "unix " + abstract} {
			network, address, _ := strings.Cut(at, " ")
			for range 30 {
				c, err := net.DialTimeout(network, address, patience)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				waiting[at] = append(waiting[at], c)
			}
		}
		vs := come(t, w.addr, 3)
		mark := w.mark()
		b := w.start("tcp")
		if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
			t.Fatalf("Ready of the rescuer: %s", e.Err)
		}
		w.ended(a)
		if s := a.state.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
			t.Errorf("the incumbent ended with %v", a.state)
		}
		vs.answered(t, b.pid)
		all := vs.leave()
		if got := owners(all, b.pid); !slices.Equal(got, []int{b.pid}) {
			t.Errorf("owners in turn: %v, want only %d", got, b.pid)
		}
		for _, v := range lost(all) {
			t.Errorf("lost: %v", v)
		}
		for at, conns := range waiting {
			for i, c := range conns {
				if err := greeted(c, b.pid); err != nil {
					t.Errorf("client %d of %s: %v", i, at, err)
				}
			}
		}
		// Loudly: before it is done, and when it is done.
		for _, says := range []string{"RESCUE: the incumbent does not answer", "RESCUE: the incumbent is dead"} {
			e := w.await(mark, says, func(e event) bool {
				return e.PID == b.pid && e.Ev == "log" && strings.HasPrefix(e.Msg, says)
			})
			if e.N != int(slog.LevelError) || !strings.Contains(e.Err, fmt.Sprintf("incumbent=%d ", a.pid)) {
				t.Errorf("logged with level %d and %q: %s", e.N, e.Err, e.Msg)
			}
		}
		w.goOnAndEnd(b, path)
	})
}

// greeted reads the greeting of one of pids, and has a line echoed.
func greeted(c net.Conn, pids ...int) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err == nil && !slices.ContainsFunc(pids, func(pid int) bool { return line == fmt.Sprintln(pid) }) {
		err = fmt.Errorf("greeted by %q, not %d", line, pids)
	}
	if err == nil {
		_, err = io.WriteString(c, "hello\n")
	}
	if err == nil {
		line, err = r.ReadString('\n')
	}
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("echoed %q", line)
	}
	return errors.Join(err, c.Close())
}

// goOnAndEnd upgrades once more in the ordinary way, both ways, and stops for good. The path of a Unix socket is then gone.
func (w *world) goOnAndEnd(owner *proc, path string) {
	w.t.Helper()
	for _, way := range []string{"upgrade", "join"} {
		faultCase{way: way}.goOn(w.t, w, owner)
		owner = w.of(call(w.addr).pid)
	}
	if _, err := os.Lstat(path); err != nil {
		w.t.Error(err)
	}
	w.signal(owner, unix.SIGTERM)
	w.ended(owner)
	if _, err := os.Lstat(path); err == nil {
		w.t.Errorf("%s is left behind", path)
	}
}

// TestRescueDeadlocked: an incumbent that serves, but cannot hand over, is replaced. What it had accepted dies with it.
func TestRescueDeadlocked(t *testing.T) {
	eachUser(t, "tcp", func(t *testing.T, w *world) {
		w.conf.StepTimeout, w.conf.Deaf = 500*time.Millisecond, true
		a := w.serving("tcp")
		vs := come(t, w.addr, 3)
		vs.answered(t, a.pid)
		w.conf.Deaf = false

		without := w.start("tcp")
		w.wait(0, a.pid, "deaf", "")
		if e := w.wait(0, without.pid, "join", ""); !strings.Contains(e.Err, "Config.Rescue") || !strings.Contains(e.Is, "timeout") {
			t.Errorf("Join without Rescue: %q, errors.Is says %q", e.Err, e.Is)
		}
		w.ended(without)
		vs.answered(t, a.pid)

		w.conf.Rescue = "on"
		mark := w.mark()
		b := w.start("tcp")
		if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
			t.Fatalf("Ready of the rescuer: %s", e.Err)
		}
		w.ended(a)
		vs.answered(t, b.pid)
		dead := w.await(mark, "the incumbent's death", func(e event) bool {
			return e.PID == b.pid && strings.HasPrefix(e.Msg, "RESCUE: the incumbent is dead")
		})
		all := vs.leave()
		if got := owners(all, a.pid); !slices.Equal(got, []int{a.pid, b.pid}) {
			t.Errorf("owners in turn: %v, want %d and %d", got, a.pid, b.pid)
		}
		for _, v := range lost(all) {
			// Accepted by the incumbent, which may not have come to greet.
			if v.pid == b.pid || v.start.After(time.Unix(0, dead.At)) {
				t.Errorf("lost: %v", v)
			}
		}
		if n := len(lost(all)); n > 3 {
			t.Errorf("%d lost, but there are 3 clients", n)
		}
		faultCase{way: "join"}.goOn(t, w, b)
	})
}

// TestRescueRefused: of another user's process, by this user's rule, and by the kernel if that is lifted. The incumbent is
// left as it was.
func TestRescueRefused(t *testing.T) {
	needRoot(t, "to start a process of another user")
	other := &syscall.Credential{Uid: stranger, Gid: stranger}
	for _, c := range []struct {
		name              string
		incumbent, joiner *syscall.Credential
		rescue            string
		is, says          string
	}{
		{"root", other, nil, "on", "unauthorized", "uid 12345"},
		{"ordinary user", nil, other, "on", "", "run both as the same user"}, // root may take part; the kernel refuses
		{"allowed by Authorize", &syscall.Credential{Uid: neighbour, Gid: neighbour}, other, "all", "", "run both as the same user"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			for name, mode := range map[string]os.FileMode{w.dir: 0o777, w.conf.Events: 0o666} {
				if err := os.Chmod(name, mode); err != nil {
					t.Fatal(err)
				}
			}
			w.conf.StepTimeout, w.conf.AnyUser = 500*time.Millisecond, true
			a := w.startAs("tcp", c.incumbent)
			if e := w.wait(0, a.pid, "ready", ""); e.Err != "" {
				t.Fatal(e.Err)
			}
			w.signal(a, unix.SIGSTOP)
			w.stopped(a)
			w.conf.Rescue, w.conf.AnyUser = c.rescue, false
			b := w.startAs("tcp", c.joiner)
			e := w.wait(0, b.pid, "join", "")
			if !strings.Contains(e.Err, "rescue") || !strings.Contains(e.Err, c.says) || !strings.Contains(e.Is, c.is) {
				t.Errorf("Join: %q, errors.Is says %q", e.Err, e.Is)
			}
			w.ended(b)
			if !a.alive() {
				t.Fatal("the incumbent is dead")
			}
			w.signal(a, unix.SIGCONT)
			soleOwner(t, w.addr, a.pid)
			w.conf.Rescue, w.cred = "", c.incumbent
			faultCase{way: "upgrade"}.goOn(t, w, a)
		})
	}
}

// TestRescueFullQueue: who finds the queue of the rendezvous full cannot know whom to replace, and says so.
func TestRescueFullQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.StepTimeout, w.conf.Rescue = 500*time.Millisecond, "on"
	a := w.serving("tcp")
	w.signal(a, unix.SIGSTOP)
	w.stopped(a)
	var callers []int
	for {
		n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		callers = append(callers, n)
		if err := unix.Connect(n, &unix.SockaddrUnix{Name: w.conf.Path}); err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Fatal(err)
			}
			break
		}
	}
	b := w.start("tcp")
	e := w.wait(0, b.pid, "join", "")
	if !strings.Contains(e.Err, "its queue is full") || !strings.Contains(e.Is, "timeout") {
		t.Errorf("Join: %q, errors.Is says %q", e.Err, e.Is)
	}
	w.ended(b)
	for _, n := range callers {
		_ = unix.Close(n)
	}
	w.signal(a, unix.SIGCONT)
	soleOwner(t, w.addr, a.pid)
	faultCase{way: "upgrade"}.goOn(t, w, a)
}

// TestRescueBesideHeir: the incumbent has a successor that prepares itself, and will own as soon as it is ready. Who rescues
// then does not own beside it, but after it.
func TestRescueBesideHeir(t *testing.T) {
	for _, ready := range []bool{true, false} {
		t.Run(map[bool]string{true: "ready", false: "gives_up"}[ready], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			w.conf.StepTimeout = 500 * time.Millisecond
			a := w.serving("tcp")
			w.conf.Start, w.conf.USR1 = "hold-joined", "hold"
			b := w.start("tcp")
			if e := w.wait(0, b.pid, "join", ""); e.Err != "" {
				t.Fatal(e.Err)
			}
			w.signal(a, unix.SIGSTOP)
			w.stopped(a)
			vs := come(t, w.addr, 3)
			w.conf.Start, w.conf.Rescue = "", "on"
			c := w.start("tcp")
			w.ended(a)
			dead := w.await(0, "the incumbent's death", func(e event) bool {
				return e.PID == c.pid && strings.HasPrefix(e.Msg, "RESCUE: the incumbent is dead")
			})
			time.Sleep(2 * w.conf.StepTimeout) // longer than c has patience with one that is dead
			turn := []int{c.pid}
			if ready {
				turn = []int{b.pid, c.pid}
				w.signal(b, unix.SIGUSR1)
				if e := w.wait(0, b.pid, "ready", ""); e.Err != "" {
					t.Fatalf("Ready of the heir: %s", e.Err)
				}
			} else {
				w.signal(b, unix.SIGKILL)
			}
			if e := w.wait(0, c.pid, "ready", ""); e.Err != "" || e.At < dead.At {
				t.Fatalf("Ready of the rescuer: %s", e.Err)
			}
			vs.answered(t, c.pid)
			w.ended(b)
			all := vs.leave()
			if got := owners(all, turn[0]); !slices.Equal(got, turn) {
				t.Errorf("owners in turn: %v, want %v", got, turn)
			}
			for _, v := range lost(all) {
				t.Errorf("lost: %v", v)
			}
			faultCase{way: "upgrade"}.goOn(t, w, c)
		})
	}
}

// TestRescueInGuard: the incumbent's predecessor can still be revived. It is, by the rescuer's kill, and the rescuer owns
// after it.
func TestRescueInGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.Guard, w.conf.StepTimeout = 10*time.Second, 500*time.Millisecond
	a := w.serving("tcp")
	b := w.upgrade(a)
	if e := w.wait(0, b.pid, "ready", ""); e.Err != "" {
		t.Fatal(e.Err)
	}
	w.wait(0, a.pid, "log", "superseded")
	w.signal(b, unix.SIGSTOP)
	w.stopped(b)
	vs := come(t, w.addr, 3)
	w.conf.Rescue = "on"
	c := w.start("tcp")
	w.ended(b)
	if e := w.wait(0, c.pid, "ready", ""); e.Err != "" {
		t.Fatalf("Ready of the rescuer: %s", e.Err)
	}
	vs.answered(t, c.pid)
	all := vs.leave()
	if got := owners(all, a.pid); !slices.Equal(got, []int{a.pid, c.pid}) {
		t.Errorf("owners in turn: %v, want %d and %d", got, a.pid, c.pid)
	}
	for _, v := range lost(all) {
		t.Errorf("lost: %v", v)
	}
	soleOwner(t, w.addr, c.pid)
}
