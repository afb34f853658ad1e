package integration

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleSend says conf.Raw on descriptor 3, and ends.
func roleSend(c conf, e *emitter) int {
	for _, f := range c.Raw {
		if err := unix.Send(3, []byte(f), unix.MSG_NOSIGNAL); err != nil {
			e.result("send", err)
			return 1
		}
	}
	return 0
}

// reuse starts a process that has this number, which nobody has.
func reuse(t *testing.T, pid int) *exec.Cmd {
	t.Helper()
	for range 10_000 { // another process may get a number in between, and then it is not this one's turn
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if cmd.Process.Pid == pid {
			return cmd
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Fatalf("nobody got the number %d", pid)
	return nil
}

// TestNumberReused: a process says HELLO, and all else that a successor says, before the incumbent looks, and dies. Its number is
// given to another process, which must not be taken for it: it would be killed, since it does not hang up.
func TestNumberReused(t *testing.T) {
	needRoot(t, "to choose the number of a process")
	const hello = `{"type":"hello","versions":[1],"name":"gone","pid":1}`
	taken := func(batch string) string { return `{"type":"taken","batch":` + batch + `}` }
	for name, said := range map[string][]string{
		"HELLO":     {hello},
		"an answer": {hello, taken("0")},
		"all":       {hello, taken("0"), taken("1"), `{"type":"prepared","batch":0,"last":true,"receipts":[]}`, `{"type":"owned"}`},
	} {
		for _, kernel := range []string{"", "old"} {
			t.Run(strings.ReplaceAll(name+"/"+kernel, " ", "_"), func(t *testing.T) {
				// Not in parallel: the next number is everybody's.
				w := newWorld(t, "tcp")
				w.conf.Kernel = kernel
				w.conf.StepTimeout = 300 * time.Millisecond
				a := w.serving("tcp")
				w.signal(a, unix.SIGSTOP)
				w.stopped(a)
				conn, err := rawLink(w.conf.Path)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(conn)
				w.conf.Raw = said
				w.adapt = func(cmd *exec.Cmd) {
					n, err := unix.FcntlInt(uintptr(conn), unix.F_DUPFD_CLOEXEC, 0)
					if err != nil {
						t.Fatal(err)
					}
					cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(n), "connection")}
				}
				dead := w.start("send")
				w.adapt = nil
				w.ended(dead)
				victim := reuse(t, dead.pid)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_ = victim.Wait() // the state says it
				}()
				defer func() {
					_ = victim.Process.Kill()
					<-ended
				}()

				mark := w.mark()
				w.signal(a, unix.SIGCONT)
				e := w.await(mark, "the end of the attempt", func(e event) bool {
					return e.PID == a.pid && e.Ev == "log" && (e.Msg == "handover failed" || e.Msg == "a caller was turned away")
				})
				select {
				case <-ended:
					t.Errorf("the process that got the number has ended: %v; %v", victim.ProcessState, e)
				default:
				}
				vs := come(t, w.addr, 3)
				vs.answered(t, a.pid)
				for _, v := range lost(vs.leave()) {
					t.Errorf("lost: %v", v)
				}
				w.conf.StepTimeout = 5 * time.Second
				faultCase{way: "join"}.goOn(t, w, a)
			})
		}
	}
}

// TestFiltered: what is left below a filter that knows no pidfds. Without SO_PASSPIDFD, an error says what to allow, and the incumbent
// serves on. With it, everything works: see TestTransportRefused.
func TestFiltered(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EPERM, unix.ENOSYS} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			w.conf.Kernel, w.conf.Filtered = "filtered", errno
			a := w.serving("tcp")
			vs := come(t, w.addr, 3)
			vs.answered(t, a.pid)
			for _, way := range []string{"join", "upgrade"} {
				mark := w.mark()
				b := w.succeed(way, a, "tcp")
				e := w.wait(mark, b.pid, "join", "")
				if !strings.Contains(e.Err, "pidfd_open") || !strings.Contains(e.Err, "seccomp") {
					t.Errorf("Join of a successor by %s does not say what to allow: %q", way, e.Err)
				}
				w.ended(b)
				if way == "upgrade" {
					w.wait(mark, a.pid, "upgrade", "")
				}
			}
			vs.answered(t, a.pid)
			for _, v := range lost(vs.leave()) {
				t.Errorf("lost: %v", v)
			}
		})
	}
}

// TestOtherNamespaceOld: without pidfds a process of another PID namespace cannot be known, and says so at once.
func TestOtherNamespaceOld(t *testing.T) {
	needRoot(t, "to make a PID namespace")
	// With its number as we see it, as long as it sees our /proc.
	wrap := []string{"sh", "-c", `read SEGUE_TEST_PID rest </proc/self/stat && export SEGUE_TEST_PID && exec "$0"`}
	for _, inner := range []string{"successor", "incumbent"} {
		t.Run(inner, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			w.conf.Kernel = "old"
			if inner == "incumbent" {
				w.wrap = wrap
			}
			a := w.serving("tcp")
			w.wrap = nil
			if inner == "successor" {
				w.wrap = wrap
			}
			vs := come(t, w.addr, 3)
			vs.answered(t, a.pid)
			mark := w.mark()
			b := w.start("tcp")
			w.wrap = nil
			e := w.await(mark, "the end of Join", func(e event) bool { return e.PID == b.pid && e.Ev == "join" })
			if !strings.Contains(e.Is, "unsupported") || !strings.Contains(e.Err, "PID namespace") {
				t.Errorf("Join: %q, %q", e.Err, e.Is)
			}
			w.ended(b)
			vs.answered(t, a.pid)
			for _, v := range lost(vs.leave()) {
				t.Errorf("lost: %v", v)
			}
		})
	}
}
