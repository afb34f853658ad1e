package integration

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStartedAsAtJoin: what a program does to its environment, its arguments and its directory after Join is no business of
// the generations after it.
func TestStartedAsAtJoin(t *testing.T) {
	for _, command := range []string{"", "plain"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "started")
			w.conf.Command = command
			w.env = []string{"SECRET=of the operator", "GROWS=a"}
			w.adapt = func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, "-first", "-second") }
			p := w.serving("started")
			want := w.order(p, "tell")
			for range 2 {
				orders := []string{"unsetenv SECRET", "setenv GROWS=aa", "setenv NEW=x", "setenv PATH=/nonexistent"}
				if command == "" { // else these are the command's
					orders = append(orders, "args", "chdir /")
				}
				for _, order := range orders {
					if got := w.order(p, order); len(got.Errs) > 0 {
						t.Fatal(got.Errs)
					}
				}
				p = w.next(p)
				got := w.order(p, "tell")
				if command == "" && !slices.Equal(got.Args, want.Args) || got.Dir != want.Dir || got.Exe != want.Exe {
					t.Errorf("started as %q in %s (%s), want %q in %s (%s)", got.Args, got.Dir, got.Exe, want.Args, want.Dir, want.Exe)
				}
				if slices.Sort(got.Env); !slices.Equal(got.Env, slices.Sorted(slices.Values(want.Env))) {
					t.Errorf("environment %q\nwant %q", got.Env, want.Env)
				}
			}
		})
	}
}

// TestOutlivesPredecessor: what a program's own Config.Command may do to a child of which it is to be the parent for ever,
// does not end a successor, which is not.
func TestOutlivesPredecessor(t *testing.T) {
	for _, command := range []string{"deathsig", "context"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "started")
			w.conf.Command = command
			p := w.serving("started")
			for range 3 {
				p = w.next(p)
				w.order(p, "tell")
			}
		})
	}
}

// TestLeaderOfTerminal: when the first generation, which leads the session of a terminal, ends, the kernel sends SIGHUP to
// who else is in the foreground there. A successor is not.
func TestLeaderOfTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "started")
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.adapt = func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
		cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	}
	p := w.serving("started")
	_ = terminal.Close()
	mark := w.mark()
	p = w.next(p)
	w.signal(p, unix.SIGUSR2) // is delivered after a SIGHUP that the kernel has sent before
	w.wait(mark, p.pid, "stats", "")
	if got := w.order(p, "tell"); got.Hangups != 0 {
		t.Errorf("it got %d SIGHUP", got.Hangups)
	}
	_ = master.Close() // the terminal is closed
	p = w.next(p)
	w.order(p, "print to nobody")
	w.order(p, "tell")
}
