package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segue-go/segue/integration/children"
	"github.com/segue-go/segue/integration/load"
)

// reign is a time during which one process answered on new connections.
type reign struct {
	pid   int
	after time.Time // when connecting began for the last answer of the process before; the switch was later
	first time.Time // when this process's first answer was there; the switch was earlier
}

// watcher asks GET /pid over and over, each time on a new connection, so that it knows who owns the listener.
type watcher struct {
	addr string
	done chan struct{}

	mu       sync.Mutex
	reigns   []reign
	begun    time.Time // of the last request that was answered
	failures []load.Failure
}

// watch starts a watcher, which ends with ctx; wait for done.
func watch(ctx context.Context, addr string) *watcher {
	w := &watcher{addr: addr, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		_ = children.Eventually(ctx, func() bool { w.ask(); return false }) // ends with ctx, as it should
	}()
	return w
}

// ask asks once.
func (w *watcher) ask() {
	begun := time.Now()
	f := load.Failure{Kind: load.New, Started: begun}
	pid, err := askPID(w.addr, &f)

	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		f.Err, f.At = err, time.Now()
		w.failures = append(w.failures, f)
		return
	}
	if n := len(w.reigns); n == 0 || w.reigns[n-1].pid != pid {
		w.reigns = append(w.reigns, reign{pid: pid, after: w.begun, first: time.Now()})
	}
	w.begun = begun
}

// askPID asks who serves. It notes in f how far it came.
func askPID(addr string, f *load.Failure) (int, error) {
	const timeout = 5 * time.Second
	f.Op = "connect"
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	f.Op, f.Dialed, f.Local = "send", f.Started, c.LocalAddr().String()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(c, "GET /pid HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", addr); err != nil {
		return 0, err
	}
	f.Op = "receive"
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if err != nil {
		return 0, err
	}
	f.Op = "check"
	pid, err := strconv.Atoi(strings.TrimSpace(string(body)))
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Segue-Pid") != strconv.Itoa(pid) {
		return 0, fmt.Errorf("%w: GET /pid: %s, X-Segue-Pid %q, %q", load.ErrForeign, resp.Status,
			resp.Header.Get("X-Segue-Pid"), body)
	}
	return pid, nil
}

// last returns the latest reign; before the first answer it is zero.
func (w *watcher) last() reign {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.reigns) == 0 {
		return reign{}
	}
	return w.reigns[len(w.reigns)-1]
}

// since returns all reigns but the first n.
func (w *watcher) since(n int) []reign {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reigns[n:])
}

// await waits until a process serves for which ok is true.
func (w *watcher) await(ctx context.Context, ok func(pid int) bool) (reign, error) {
	var r reign
	err := children.Eventually(ctx, func() bool {
		r = w.last()
		return r.pid != 0 && ok(r.pid)
	})
	if err != nil {
		return r, fmt.Errorf("GET /pid still says %d: %w", r.pid, err)
	}
	return r, nil
}

// of returns the first reign of a process.
func (w *watcher) of(pid int) (reign, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.reigns {
		if r.pid == pid {
			return r, true
		}
	}
	return reign{}, false
}
