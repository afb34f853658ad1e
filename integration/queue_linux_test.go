package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	sockets "github.com/segue-go/segue/handoff/process"
)

// TestQueuesFollowSomaxconn raises net.core.somaxconn while a service runs: from the next upgrade on its queues are as long
// as that allows, in a network namespace of its own.
func TestQueuesFollowSomaxconn(t *testing.T) {
	needRoot(t, "to make a network namespace")
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			done := make(chan struct{})
			go func() { // a thread of its own, which ends with it; what it starts is where it is
				defer close(done)
				runtime.LockOSThread()
				if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
					t.Errorf("unshare: %v", err)
					return
				}
				queuesFollow(t, way)
			}()
			<-done
		})
	}
}

func queuesFollow(t *testing.T, way string) {
	allow := func(n int) {
		if err := os.WriteFile("/proc/sys/net/core/somaxconn", []byte(strconv.Itoa(n)), 0); err != nil {
			t.Errorf("somaxconn: %v", err)
		}
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Errorf("ip: %v: %s", err, out)
		return
	}
	w := newWorld(t, "tcp")
	allow(16)
	p := w.serving("tcp")
	for i, allowed := range []int{4096, 100} {
		if got, want := queueOf(t, p, w.addr), []int{16, 4096}[i]; got != want {
			t.Errorf("the queue has room for %d, want %d", got, want)
		}
		allow(allowed)
		next := w.take(way, p, "tcp")
		w.ended(p)
		p = next
		if got := queueOf(t, p, w.addr); got != allowed {
			t.Errorf("the queue has room for %d after an upgrade, want %d", got, allowed)
		}
	}
}

// queueOf is the backlog of a process's TCP listener.
func queueOf(t *testing.T, p *proc, address string) (n int) {
	t.Helper()
	of, err := sockets.Open(p.pid)
	if err != nil {
		t.Error(err)
		return
	}
	defer of.Close()
	all, err := of.List(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, s := range all {
		if s.Network != "tcp" || s.Address != address {
			continue
		}
		fd, err := of.Take(s)
		if err != nil {
			t.Error(err)
			return
		}
		defer fd.Close()
		if err := fd.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				n = int(info.Sacked)
			}
		}); err != nil {
			t.Error(err)
		}
	}
	return n
}

// TestClientsSeeOwner: at the other end of a Unix socket, clients see who serves (SO_PEERCRED), also when a successor failed.
func TestClientsSeeOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	path := filepath.Join(w.dir, "app")
	w.conf.Listen = append(w.conf.Listen, "unix/"+path)
	p := w.serving("tcp")
	sees := func(when string, pid int) {
		t.Helper()
		if got := serverAt(t, path); got != pid {
			t.Errorf("%s, clients see process %d, not %d", when, got, pid)
		}
	}
	sees("at first", p.pid)
	for _, way := range ways {
		next := w.take(way, p, "tcp")
		sees("after "+way, next.pid)
		w.ended(p)
		p = next
	}
	w.conf.Guard = time.Minute
	w.configure()
	q := w.take("join", p, "tcp")
	w.ended(p)
	w.conf.Start = "hang-joined"
	w.configure()
	mark := w.mark()
	r := w.start("tcp")
	w.wait(mark, r.pid, "log", "succeeding")
	w.signal(r, unix.SIGKILL)
	w.ended(r)
	sees("after a successor that did not own", q.pid)
	w.conf.Start = ""
	w.configure()
	mark = w.mark()
	r = w.take("join", q, "tcp")
	sees("after the switch", r.pid)
	w.signal(r, unix.SIGKILL)
	w.wait(mark, q.pid, "log", "this generation serves again")
	sees("after a revival", q.pid)
}

func serverAt(t *testing.T, path string) (pid int) {
	t.Helper()
	c, err := net.DialTimeout("unix", path, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner == nil {
			pid = int(cred.Pid)
		}
	}); err != nil || inner != nil {
		t.Fatal(fmt.Errorf("%w: %w", err, inner))
	}
	return pid
}
