package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// roleIgnore executes segue with signals ignored, as a shell script does in the background.
func roleIgnore(args []string) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	if err := os.Setenv(envRole, "segue"); err != nil {
		return notExecuted(err)
	}
	return notExecuted(syscall.Exec("/proc/self/exe", append([]string{"segue"}, args...), os.Environ()))
}

// roleTerminated runs a command that, before it becomes another program, gets SIGTERM.
func roleTerminated(name string) int {
	e := newEnv()
	root := e.tree()
	c, _, err := root.Find([]string{name})
	if err != nil {
		return notExecuted(err)
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := unix.Kill(os.Getpid(), unix.SIGTERM); err != nil {
			return err
		}
		select {
		case <-c.Context().Done(): // where it is swallowed
		case <-time.After(patience):
		}
		return nil
	}
	return e.report(dispatch(root, []string{name}))
}

func notExecuted(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 64
}

// TestAdoptTerminated sends SIGTERM before COMMAND is executed: segue ends by it.
func TestAdoptTerminated(t *testing.T) {
	for _, name := range []string{"adopt", "adopt-exec"} {
		c := play(t, "terminated", name)
		c.status(t)
		if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGTERM {
			t.Errorf("%s ended with %v", name, c.ProcessState)
		}
	}
}

// TestAdoptIgnored ignores signals, as shells do in the background of a script, and nohup: they stay ignored for COMMAND.
func TestAdoptIgnored(t *testing.T) {
	for name, args := range map[string][]string{"plain": nil, "signal": {"--signal", "TERM", "--settle", "20s"}} {
		t.Run(name, func(t *testing.T) {
			old := play(t, "hold", "1")
			addr := old.line(t)
			args := append([]string{"adopt", "--pid", old.pid(), "--listen", addr}, args...)
			line := play(t, "ignore", append(args, "--", "grep", "^SigIgn:", "/proc/self/status")...).line(t)
			set, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(line, "SigIgn:")), 16, 64)
			must(t, err)
			for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
				if set&(1<<(sig-1)) == 0 {
					t.Errorf("COMMAND ignores %#x, without %v", set, sig)
				}
			}
			reap(t)
		})
	}
}
