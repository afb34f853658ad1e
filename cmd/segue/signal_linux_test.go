package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestExiting tells one that has ended, and one that has not.
func TestExiting(t *testing.T) {
	if exiting(os.Getpid()) {
		t.Error("this process is said to end")
	}
	c := exec.Command("true")
	must(t, c.Start())
	must(t, unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	if !exiting(c.Process.Pid) {
		t.Error("a zombie is not")
	}
	must(t, c.Wait())
}

// TestSignallerNotBegun does not tell P if what was to become COMMAND ends instead, says that it failed, or takes too long.
func TestSignallerNotBegun(t *testing.T) {
	for name, tt := range map[string]struct {
		happens func(t *testing.T, command *exec.Cmd, begun *os.File, cancel func())
		want    string
	}{
		"killed": {func(t *testing.T, command *exec.Cmd, _ *os.File, _ func()) {
			must(t, command.Process.Kill())
		}, "has ended within"},
		"failed": {func(t *testing.T, _ *exec.Cmd, begun *os.File, _ func()) {
			_, err := begun.WriteString(notBegun)
			must(t, err)
		}, "could not be started"},
		"told to end": {func(_ *testing.T, _ *exec.Cmd, _ *os.File, cancel func()) { cancel() }, "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				p, command := exec.Command("sleep", "100"), exec.Command("sleep", "100")
				begun, sayBegun, err := os.Pipe()
				must(t, err)
				command.Stdout = sayBegun
				must(t, p.Start())
				must(t, command.Start())
				saysReady, ready, err := os.Pipe()
				must(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				done := make(chan error)
				go func() {
					s := signaller{pid: p.Process.Pid, command: command.Process.Pid, sig: syscall.SIGTERM}
					done <- s.run(ctx, ready, begun)
				}()
				must(t, awaitReady(saysReady))
				tt.happens(t, command, sayBegun, cancel)
				if name != "told to end" {
					must(t, sayBegun.Close())
				}
				if name == "failed" {
					must(t, command.Process.Kill())
				}
				if err := <-done; err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
				cancel()
				must(t, p.Process.Kill())
				_ = p.Wait()
				if ws, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
					t.Errorf("P was told: %v", p.ProcessState)
				}
				_ = command.Process.Kill()
				_ = command.Wait()
				for _, f := range []*os.File{begun, sayBegun, saysReady} {
					_ = f.Close()
				}
			}
		})
	}
}
