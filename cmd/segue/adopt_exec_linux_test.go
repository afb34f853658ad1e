package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAdoptNotStarted wants a program that cannot be executed: the old one is not told, however little is to settle.
func TestAdoptNotStarted(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, text string
		status     int
		says       string
	}{
		{"interpreter", "#!/no/such/interpreter\n", 127, "interpreter"},
		{"format", "\x7fELFnonsense", 126, "exec format error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := filepath.Join(dir, c.name)
			must(t, os.WriteFile(bad, []byte(c.text), 0o755))
			for range 5 {
				old := play(t, "hold", "1")
				addr := old.line(t)
				next := play(t, "segue", "adopt", "--pid", old.pid(), "--listen", addr, "--signal", "KILL", "--settle", "0s", "--", bad)
				if s := next.status(t); s != c.status {
					t.Errorf("ended with %d", s)
				}
				reap(t)
				got := next.messages.String()
				if !strings.Contains(got, "segue adopt: ") || !strings.Contains(got, c.says) || strings.Contains(got, "adopt-") ||
					!strings.Contains(got, "was not started; process "+old.pid()+" was not told") {
					t.Errorf("said %s", got)
				}
				if who := visit(t, addr); who != "old" {
					t.Errorf("%q answered", who)
				}
			}
		})
	}
}

// TestSignaller is told that COMMAND runs by the end of a pipe, which a process that was killed closes as well.
func TestSignaller(t *testing.T) {
	dead := exec.Command("true")
	must(t, dead.Start())
	var info unix.Siginfo
	must(t, unix.Waitid(unix.P_PID, dead.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	defer func() { _ = dead.Wait() }()
	for _, c := range []struct {
		name    string
		command int
		byte    bool
		want    string
	}{
		{"runs", os.Getpid(), false, ""},
		{"not started", os.Getpid(), true, "was not started"},
		{"a zombie", dead.Process.Pid, false, "has ended"},
	} {
		r, w, err := os.Pipe()
		must(t, err)
		if c.byte {
			tellNotBegun(w)
		} else {
			must(t, w.Close())
		}
		err = signaller{pid: 1, command: c.command}.awaitBegun(r)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		must(t, r.Close())
	}
	for stat, want := range map[string]bool{
		"1 (a) b) S 0 1 1 0 -1 4194560 1": false,
		"1 (a) b) S 0 1 1 0 -1 4194564 1": true,
		"1 (a":                            true, "": true,
	} {
		if exiting([]byte(stat)) != want {
			t.Errorf("%q: not %v", stat, want)
		}
	}
}

// TestSignalBeforeExec wants a signal to count that came before COMMAND is executed: it would never hear of it.
func TestSignalBeforeExec(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT} {
		if signal.Ignored(sig) {
			continue // whoever runs the tests wants that
		}
		var e env
		ctx, stop := e.heed()
		runtime.LockOSThread() // one that this thread sends itself is delivered before the call returns
		must(t, unix.Tgkill(os.Getpid(), unix.Gettid(), sig))
		runtime.UnlockOSThread()
		if err := e.lastWord(); !errors.Is(err, signalError{sig}) {
			t.Errorf("%v: %v", sig, err)
		}
		if ctx.Err() == nil {
			t.Errorf("%v: the context goes on", sig)
		}
		stop()
	}
	var e env
	_, stop := e.heed()
	must(t, e.lastWord())
	stop()
}

// TestIgnoredSignals: what segue was started to ignore, COMMAND is.
func TestIgnoredSignals(t *testing.T) {
	old := play(t, "hold", "1")
	addr := old.line(t)
	c := exec.Command("sh", "-c", `trap "" INT HUP; exec "$@"`, "sh", "/proc/self/exe")
	exe, err := os.Executable()
	must(t, err)
	c.Args[4] = exe
	c.Args = append(c.Args, "adopt", "--pid", old.pid(), "--listen", addr, "--", "grep", "SigIgn", "/proc/self/status")
	c.Env = append(os.Environ(), envRole+"=segue", "GOCOVERDIR="+os.TempDir())
	out, err := c.CombinedOutput()
	must(t, err)
	mask, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(string(out), "SigIgn:")), 16, 64)
	if err != nil || mask&(1<<(unix.SIGINT-1)) == 0 || mask&(1<<(unix.SIGHUP-1)) == 0 {
		t.Errorf("%s: %v", out, err)
	}
}
