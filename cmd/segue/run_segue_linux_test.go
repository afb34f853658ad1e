package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// roleSegueServer is a server of segue without a path of its own.
func roleSegueServer(addr string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer cancel()
	gen, err := handoff.Join(ctx, handoff.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ln, err := gen.Listen(ctx, "tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Segue-Pid", strconv.Itoa(os.Getpid()))
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond) // the load asks for it
		_, _ = io.WriteString(w, r.FormValue("token"))
	})
	if err := serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: h}, ln)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestRunSegue replaces a program of segue ten times under load: it hands over by itself, kept connections too. Then the new
// one is killed, in its guard: the one before serves again.
func TestRunSegue(t *testing.T) {
	for _, wrap := range [][]string{nil, {"unshare", "--pid", "--fork", "--mount-proc", "--kill-child=TERM"}} {
		name := "child"
		if wrap != nil {
			name = "PID 1"
			if os.Geteuid() != 0 {
				skip(t, "root, to make a PID namespace")
			}
		}
		times := 10
		if testing.Short() {
			times = 2
		}
		t.Run(name, func(t *testing.T) {
			addr := freeAddr(t)
			exe, err := os.Executable()
			must(t, err)
			s := supervised(t, wrap, nil, "--", "env", envRole+"=server", exe, addr)
			s.addr = addr
			s.has("msg=serving", 1)
			hup := func() { s.signal(unix.SIGHUP) }
			if wrap != nil {
				s.eventually("process 1", func() bool { return len(childrenOf(s.cmd.Process.Pid)) == 1 })
				init := childrenOf(s.cmd.Process.Pid)[0]
				hup = func() { must(t, unix.Kill(init, unix.SIGHUP)) }
				defer func() { must(t, unix.Kill(init, unix.SIGTERM)) }()
			}
			s.eventually("an answer", func() bool { return s.asks() != 0 })
			s.loaded(5, func() {
				for i := range times {
					before := s.asks()
					hup()
					s.has("msg=serving", 2+i)
					if now := s.asks(); now == before {
						t.Errorf("process %d serves on", now)
					}
				}
			})
			if wrap != nil {
				return
			}
			last := s.asks()
			must(t, unix.Kill(last, unix.SIGKILL))
			s.eventually("another one", func() bool { now := s.asks(); return now != 0 && now != last })
			s.has("an older process serves again", 1)
			hup()
			s.has("msg=serving", 2+times)
			s.signal(unix.SIGTERM)
			if status := s.ends(); status != 0 {
				t.Errorf("status %d", status)
			}
		})
	}
}

// TestRunShared has two of it on one rendezvous, as in two containers that share a directory: the second one's program takes
// over, and the first one's ends. The first stays nevertheless, as it was told to, or it would be started again, and take over
// in its turn. A third one cannot have the same sockets as a second one that binds them itself.
func TestRunShared(t *testing.T) {
	dir, err := os.MkdirTemp("", "segue")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	addr := freeAddr(t)
	exe, err := os.Executable()
	must(t, err)
	start := func(n string) *supervisor {
		s := supervised(t, nil, nil, "--stay", "--rendezvous", dir+"/s", "--ready-file", dir+"/ready"+n, "--", "env", envRole+"=server", exe, addr)
		s.addr = addr
		return s
	}
	ready := func(n string) bool { _, err := os.Stat(dir + "/ready" + n); return err == nil }
	first := start("1")
	first.eventually("the file of the first", func() bool { return ready("1") })
	first.eventually("an answer", func() bool { return first.asks() != 0 })
	var second *supervisor
	first.loaded(3, func() {
		second = start("2")
		second.eventually("the file of the second", func() bool { return ready("2") })
		first.has("stays until SIGTERM", 1)
	})
	first.signal(unix.SIGTERM)
	if status := first.ends(); status != 0 || ready("1") {
		t.Errorf("the first: status %d; its file is left: %v", status, ready("1"))
	}
	if second.asks() == 0 {
		t.Error("the second does not serve")
	}
	third := supervised(t, nil, nil, "--listen", addr, "--", "true")
	if status := third.ends(); status != 1 || !strings.Contains(third.said(), "address already in use") {
		t.Errorf("the third: status %d: %s", status, third.said())
	}
	second.signal(unix.SIGTERM)
	if status := second.ends(); status != 0 {
		t.Errorf("the second: status %d", status)
	}
}

// childrenOf lists the children of a process.
func childrenOf(pid int) (all []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for _, f := range strings.Fields(string(b)) {
		n, _ := strconv.Atoi(f)
		all = append(all, n)
	}
	return all
}
