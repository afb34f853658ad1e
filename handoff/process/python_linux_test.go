package process_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/process"
)

// pythonServer starts python3 -m http.server, which speaks HTTP/1.0, on addr, with a page that says Python.
func pythonServer(t *testing.T, as *syscall.Credential, addr string) *child {
	t.Helper()
	path := program(t, "apt-get install python3", "/usr/bin/python3", "python3")
	dir := workDir(t, as)
	must(t, os.WriteFile(filepath.Join(dir, "index.html"), []byte("Python "+strings.Repeat("x", 10_000)), 0o644))
	host, port, err := net.SplitHostPort(addr)
	must(t, err)
	c := start(t, as, exec.Command(path, "-m", "http.server", port, "--bind", host, "--directory", dir))
	accepting(t, c, addr)
	return c
}

// visitors makes one request per connection until ctx ends, and counts whose answers came, and what went wrong.
type visitors struct {
	mu       sync.Mutex
	byOld    int
	byNew    int
	failures []error
}

func (v *visitors) run(ctx context.Context, workers int, addr string) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				body, err := visit(addr)
				v.mu.Lock()
				switch {
				case err != nil:
					v.failures = append(v.failures, err)
				case bytes.HasPrefix(body, []byte("Python ")) && len(body) == 10_007:
					v.byOld++
				case bytes.HasPrefix(body, []byte("Go ")):
					v.byNew++
				default:
					v.failures = append(v.failures, fmt.Errorf("%d bytes: %.80q", len(body), body))
				}
				v.mu.Unlock()
				time.Sleep(3 * time.Millisecond) // the pace of a client
			}
		})
	}
	wg.Wait()
}

// answered counts the answers so far.
func (v *visitors) answered() (byOld, byNew int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.byOld, v.byNew
}

// visit makes one request, without any second try.
func visit(addr string) ([]byte, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return body, err
}

// TestPython replaces python3 -m http.server, which drops all that it is doing when it gets SIGTERM, under load.
func TestPython(t *testing.T) {
	eachUser(t, func(t *testing.T, as *syscall.Credential) {
		addr := freeAddress(t)
		old := pythonServer(t, as, addr)
		ctx, stop := context.WithCancel(bounded(t))
		defer stop()
		v := &visitors{}
		var visiting sync.WaitGroup
		visiting.Go(func() { v.run(ctx, 3, addr) })
		until(t, "Python answers", func() bool { old, _ := v.answered(); return old >= 20 })
		next := server(t, as, settings{PID: old.pid(), Listen: []string{"tcp/" + addr}, Signal: syscall.SIGTERM, Idle: patience})
		next.line("serving")
		if err := old.wait(); err == nil || old.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Errorf("Python ended with %v", err)
		}
		until(t, "Go answers", func() bool { _, next := v.answered(); return next >= 20 })
		stop()
		visiting.Wait()
		for i, err := range v.failures {
			if i == 5 {
				break
			}
			t.Error(err)
		}
		t.Logf("%d requests were answered by Python, %d by Go, %d failed", v.byOld, v.byNew, len(v.failures))
		if v.byOld == 0 || v.byNew == 0 {
			t.Error("one of them has answered nothing")
		}
		must(t, next.cmd.Process.Signal(syscall.SIGTERM))
		must(t, next.wait())
	})
}

// TestSignalIdle waits for a connection to go, and gives up in time if it does not.
func TestSignalIdle(t *testing.T) {
	addr := freeAddress(t)
	old := pythonServer(t, nil, addr)
	p, err := process.Open(old.pid())
	must(t, err)
	defer p.Close()
	all, err := p.List(bounded(t))
	must(t, err)

	conn, err := net.Dial("tcp", addr)
	must(t, err)
	defer conn.Close()
	// Python has it when it waits for the request, in a thread of its own.
	for deadline := time.Now().Add(patience); ; {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", old.pid()))
		must(t, err)
		if len(threads) > 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("Python does not accept")
		}
		time.Sleep(time.Millisecond) // polling
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := p.SignalIdle(ctx, syscall.SIGTERM, all...); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a connection: %v", err)
	}
	// It was not even stopped: who was continued would be reported.
	var info unix.Siginfo
	must(t, unix.Waitid(unix.P_PID, old.pid(), &info, unix.WCONTINUED|unix.WNOHANG|unix.WNOWAIT, nil))
	if info.Signo != 0 {
		t.Error("it was stopped all the same")
	}
	// It goes on, and serves both that connection and another.
	if _, err := visit(addr); err != nil {
		t.Error(err)
	}
	_, err = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
	must(t, err)
	if b, err := io.ReadAll(conn); err != nil || len(b) < 10_007 {
		t.Errorf("the connection gave %d bytes, %v", len(b), err)
	}
	must(t, p.SignalIdle(bounded(t), syscall.SIGTERM, all...))
	_ = old.wait()
	if err := p.SignalIdle(bounded(t), syscall.SIGTERM, all...); !errors.Is(err, process.ErrGone) {
		t.Errorf("when it had ended: %v", err)
	}
}
