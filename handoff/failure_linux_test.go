package handoff_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
)

// logs makes c write to what is returned, for tests of what an operator gets to see.
func logs(t *testing.T, c *handoff.Config) *logWriter {
	t.Helper()
	w := &logWriter{}
	c.Logger = loggerTo(t, w, slog.LevelInfo)
	return w
}

// says waits until the log has text.
func (w *logWriter) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the log entry "+text, func() bool { return strings.Contains(w.String(), text) })
}

// script makes an executable file.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestUpgradeFails: a program that never gets as far as Join costs nothing but the attempt, which can be repeated.
func TestUpgradeFails(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tries   int
		command func() *exec.Cmd
		want    error
		message string
	}{
		{"missing program", 2, func() *exec.Cmd { return exec.Command("/nonexistent/segue-test") }, os.ErrNotExist, "start the successor: "},
		{"program that is no program", 1, func() *exec.Cmd { return exec.Command(os.DevNull) }, os.ErrPermission, "start the successor: "},
		{"program without interpreter", 1, func() *exec.Cmd {
			return exec.Command(script(t, "#!/nonexistent/segue-test\n"))
		}, os.ErrNotExist, "not that file, but the ELF interpreter that it needs (ldd), or that of its first line"},
		{"directory that is missing", 1, func() *exec.Cmd {
			cmd := exec.Command("/bin/true")
			cmd.Dir = "/nonexistent/segue-test"
			return cmd
		}, os.ErrNotExist, "its directory, /nonexistent/segue-test, cannot be entered"},
		{"no command", 2, func() *exec.Cmd { return nil }, nil, "Config.Command returned no command"},
		{"wrapper that closes the connection", 1, func() *exec.Cmd {
			return exec.Command("/bin/sh", "-c", "exec 3>&-; exec sleep 60")
		}, nil, "before its first word"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, rendezvous(t))
			c.Command = tt.command
			log := logs(t, &c)
			g, l := first(t, c)
			before := descriptors(t)
			for range tt.tries {
				err := g.Upgrade(bounded(t))
				var e *handoff.Error
				if !errors.As(err, &e) || e.Op != "upgrade" || !strings.Contains(err.Error(), tt.message) {
					t.Fatalf("Upgrade: %v, want %q", err, tt.message)
				}
				if tt.want != nil {
					wantErr(t, "Upgrade", err, tt.want)
				}
				if s := g.Status(); s.LastError == nil || s.LastError.Error() != err.Error() || s.Phase != handoff.PhaseServing || s.Successor != 0 {
					t.Errorf("the status is %+v after %v", s, err)
				}
			}
			log.says(t, "upgrade failed")
			serves(t, l)
			eventually(t, "descriptors as before", func() bool { return descriptors(t) <= before })
			supersede(t, g, join(t, config(t, c.Path)))
		})
	}
}

// TestUpgradeNotOwner: who has been superseded, or has not yet taken over, or is closed, starts nobody.
func TestUpgradeNotOwner(t *testing.T) {
	c := config(t, rendezvous(t))
	c.Command = func() *exec.Cmd {
		t.Error("a command was asked for")
		return nil
	}
	a, _ := first(t, c)
	b := join(t, c)
	l := listen(t, b, "tcp", "127.0.0.1:0")
	wantErr(t, "Upgrade before Ready", b.Upgrade(bounded(t)), handoff.ErrNotOwner)
	supersede(t, a, b)
	wantErr(t, "Upgrade when superseded", a.Upgrade(bounded(t)), handoff.ErrNotOwner)
	serves(t, l)
	shut(t, b)
	err := b.Upgrade(bounded(t))
	wantErr(t, "Upgrade when closed", err, handoff.ErrNotOwner)
	wantErr(t, "Upgrade when closed", err, net.ErrClosed)
}

// TestJoinInTheWay: what is at the path and is none of segue's is left as it is, and the error says what it is.
func TestJoinInTheWay(t *testing.T) {
	for _, tt := range []struct {
		name    string
		put     func(t *testing.T, path string) (check func())
		long    bool
		message string
	}{
		{"file", func(t *testing.T, path string) func() {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() {
				if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
					t.Errorf("the file has %q, %v", got, err)
				}
			}
		}, false, "is in the way and is no socket"},
		{"foreign listener", func(t *testing.T, path string) func() {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return func() { serves(t, l) }
		}, false, "something that does not speak segue's protocol listens there"},
		{"path too long", func(t *testing.T, path string) func() {
			return func() {
				if _, err := os.Lstat(path); !os.IsNotExist(err) {
					t.Errorf("there is something: %v", err)
				}
			}
		}, true, "choose a shorter one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			if tt.long {
				path += strings.Repeat("x", 108-len(path))
			}
			check := tt.put(t, path)
			before := descriptors(t)
			g, err := handoff.Join(bounded(t), config(t, path))
			if err == nil {
				shut(t, g)
			}
			var e *handoff.Error
			if !errors.As(err, &e) || e.Op != "join" || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("Join: %v, want %q", err, tt.message)
			}
			check()
			eventually(t, "descriptors as before", func() bool { return descriptors(t) <= before })
		})
	}
	t.Run("path of 107 bytes", func(t *testing.T) {
		path := rendezvous(t)
		path += strings.Repeat("x", 107-len(path))
		a, _ := first(t, config(t, path))
		supersede(t, a, join(t, config(t, path)))
	})
}

// TestPIDFileNotWritten: a PID file is not worth an outage.
func TestPIDFileNotWritten(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.PIDFile = filepath.Join(filepath.Dir(path), "missing", "pid")
	log := logs(t, &c)
	a, _ := first(t, c)
	log.says(t, "the PID file was not written")
	b := join(t, c)
	l := listen(t, b, "tcp", "127.0.0.1:0")
	supersede(t, a, b)
	serves(t, l)
}

// TestReopening: what cannot be opened at once by a generation that takes the sockets back is tried again until it can.
func TestReopening(t *testing.T) {
	// handedBack has a successor of a fail after it confirmed, and returns when a owns again.
	handedBack := func(t *testing.T, a, b *handoff.Generation, between func()) {
		t.Helper()
		ready(t, b)
		superseded(t, a)
		between()
		if err := b.Fail(errors.New("the successor does not like it here")); err != nil {
			t.Errorf("Fail: %v", err)
		}
		awaitPhase(t, a, handoff.PhaseServing)
	}

	t.Run("address taken by another", func(t *testing.T) {
		c := config(t, rendezvous(t))
		c.Guard = time.Minute
		b := c
		log := logs(t, &c)
		var asks atomic.Pointer[handoff.Generation]
		var asked atomic.Int32
		c.ListenConfig.Control = func(string, string, syscall.RawConn) error {
			if g := asks.Load(); g != nil { // it is bound again: no lock may be held that a method of the generation takes
				answered := make(chan struct{})
				go func() {
					defer close(answered)
					g.Status()
				}()
				select {
				case <-answered:
				case <-time.After(patience / 2):
					t.Error("a method of the generation waits for what calls ListenConfig.Control")
					asks.Store(nil)
				}
				asked.Add(1)
			}
			return nil
		}
		a := join(t, c)
		shared, own := listenAs(t, a, "shared", "tcp", "127.0.0.1:0"), listenAs(t, a, "own", "tcp", "127.0.0.1:0")
		ready(t, a)
		asks.Store(a)
		g := join(t, b)
		listenAs(t, g, "shared", "tcp", "127.0.0.1:0")
		var squatter net.Listener
		handedBack(t, a, g, func() {
			eventually(t, "the end of what nobody asked for", func() (ok bool) {
				var err error
				squatter, err = net.Listen("tcp", own.Addr().String())
				if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
					t.Fatal(err)
				}
				return err == nil
			})
		})
		log.says(t, "cannot be opened yet")
		serves(t, shared)
		serves(t, squatter)
		if err := squatter.Close(); err != nil {
			t.Fatal(err)
		}
		log.says(t, "all sockets are open again")
		serves(t, own)
		if asked.Load() < 2 {
			t.Errorf("ListenConfig.Control was called %d times, and not for each try", asked.Load())
		}
	})

	t.Run("no descriptors", func(t *testing.T) {
		c := config(t, rendezvous(t))
		c.Guard = time.Minute
		b := c
		log := logs(t, &c)
		a, l := first(t, c)
		g := join(t, b)
		listen(t, g, "tcp", "127.0.0.1:0")
		var limit unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
			t.Fatal(err)
		}
		restore := func() {
			if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
				t.Error(err)
			}
		}
		defer restore()
		handedBack(t, a, g, func() { // what is open stays so; nothing new can be
			if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 4, Max: limit.Max}, nil); err != nil {
				t.Fatal(err)
			}
		})
		log.says(t, "cannot be opened yet")
		restore()
		log.says(t, "all sockets are open again")
		serves(t, l)
	})
}
