package integration

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stranger is a user who owns nothing, and neighbour another.
const (
	stranger  = 12345
	neighbour = 54321
)

// needRoot skips a test that needs root, or fails it in CI, which runs as root. what is what root is needed for.
func needRoot(t *testing.T, what string) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs root, %s", what)
	}
	t.Skipf("needs root, %s", what)
}

// TestOtherUser: another user is kept out by the mode of the rendezvous, and if that is opened, by its credentials.
func TestOtherUser(t *testing.T) {
	needRoot(t, "to start a process of another user")
	for _, c := range []struct {
		name string
		mode os.FileMode
		is   string
		says string
	}{
		{"mode 0600", 0o600, "", "permission denied"},
		{"credentials", 0o666, "unauthorized", "not authorized"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			if err := os.Chmod(w.dir, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(w.conf.Events, 0o666); err != nil { // whatever the umask
				t.Fatal(err)
			}
			a := w.serving("tcp")
			st, err := os.Stat(w.conf.Path)
			if err != nil {
				t.Fatal(err)
			}
			if st.Mode().Perm() != 0o600 {
				t.Errorf("mode of the rendezvous: %v", st.Mode())
			}
			if err := os.Chmod(w.conf.Path, c.mode); err != nil {
				t.Fatal(err)
			}
			vs := come(t, w.addr, 2)
			b := w.startAs("tcp", &syscall.Credential{Uid: stranger, Gid: stranger})
			e := w.wait(0, b.pid, "join", "")
			if !strings.Contains(e.Err, c.says) || !strings.Contains(e.Is, c.is) {
				t.Errorf("Join of another user: %q, errors.Is says %q", e.Err, e.Is)
			}
			w.ended(b)
			if c.mode == 0o666 {
				if e := w.wait(0, a.pid, "log", "a caller was turned away"); !strings.Contains(e.Err, "uid 12345") {
					t.Errorf("the incumbent's log does not name the user: %q", e.Err)
				}
			}
			vs.answered(t, a.pid)
			for _, v := range lost(vs.leave()) {
				t.Errorf("lost: %v", v)
			}
			faultCase{way: "upgrade"}.goOn(t, w, a)
		})
	}
}

// TestForeignIncumbent: a server does not take sockets from a user whom it does not trust.
func TestForeignIncumbent(t *testing.T) {
	needRoot(t, "to start a process of another user")
	t.Parallel()
	w := newWorld(t, "tcp")
	if err := os.Chmod(w.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(w.conf.Events, 0o666); err != nil {
		t.Fatal(err)
	}
	a := w.startAs("tcp", &syscall.Credential{Uid: stranger, Gid: stranger})
	if e := w.wait(0, a.pid, "ready", ""); e.Err != "" {
		t.Fatal(e.Err)
	}
	b := w.start("tcp") // root
	if e := w.wait(0, b.pid, "join", ""); !strings.Contains(e.Is, "unauthorized") {
		t.Errorf("Join with an incumbent of another user: %q", e.Err)
	}
	w.ended(b)
	soleOwner(t, w.addr, a.pid)
}

// TestStoppedIncumbent: who joins a process that is stopped is told so within StepTimeout.
func TestStoppedIncumbent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.StepTimeout = 500 * time.Millisecond
	a := w.serving("tcp")
	w.signal(a, unix.SIGSTOP)
	w.stopped(a)
	b := w.start("tcp")
	e := w.wait(0, b.pid, "join", "")
	if !strings.Contains(e.Err, "is it stopped") || !strings.Contains(e.Is, "timeout") {
		t.Errorf("Join: %q, errors.Is says %q", e.Err, e.Is)
	}
	w.ended(b)
	w.signal(a, unix.SIGCONT)
	soleOwner(t, w.addr, a.pid)
	faultCase{way: "upgrade"}.goOn(t, w, a)
}

// TestEnvironment: a variable of somebody else's making is refused, and one that leads nowhere is ignored.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.env = []string{"SEGUE_HANDOFF=0:1:" + w.conf.Path}
	bad := w.start("tcp")
	if e := w.wait(0, bad.pid, "join", ""); !strings.Contains(e.Err, "unset it") {
		t.Errorf("Join with descriptor 0: %q", e.Err)
	}
	w.env = []string{"SEGUE_HANDOFF=77:1:" + w.conf.Path}
	a := w.serving("tcp")
	soleOwner(t, w.addr, a.pid)
}
