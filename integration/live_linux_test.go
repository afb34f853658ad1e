package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/raw"
)

// liveWorld makes a world of HTTP servers that write down what they handle, and start the first.
func liveWorld(t *testing.T, network string) (*world, *proc) {
	t.Helper()
	w := newLive(t, network)
	return w, w.firstHTTP()
}

// newLive is liveWorld before the first is started.
func newLive(t *testing.T, network string) *world {
	t.Helper()
	w := newWorld(t, "http")
	w.conf.Handled = filepath.Join(w.dir, "handled")
	w.conf.DrainTimeout = time.Minute // longer than all waits here: nothing moves because somebody was impatient
	if network == "unix" {
		w.addr = filepath.Join(w.dir, "http")
		w.conf.Listen = []string{"unix/" + w.addr}
	}
	w.conf.Traced = true
	return w
}

// firstHTTP starts the first generation and waits until it serves.
func (w *world) firstHTTP() *proc {
	w.t.Helper()
	p := w.start("http")
	w.wait(0, p.pid, "phase", "serving")
	return p
}

func (w *world) network() string {
	network, _, _ := strings.Cut(w.conf.Listen[0], "/")
	return network
}

// asked starts clients of package raw. Whatever the processes tell is a moment for them. They end with the test at the
// latest.
func (w *world) asked(o raw.Options) *raw.Run {
	w.t.Helper()
	o.Network, o.Address, o.Seed = w.network(), w.addr, rand.Uint64()>>32
	w.t.Logf("seed %d", o.Seed)
	run, err := raw.Start(context.Background(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.signaled = run.Strike
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.each(ctx, w.mark(), func(event) { run.Strike() })
	}()
	w.t.Cleanup(func() {
		w.signaled = nil
		cancel()
		<-done
		run.Stop()
		run.Wait()
	})
	return run
}

// each calls f for each event after mark, when it comes, until ctx ends.
func (w *world) each(ctx context.Context, mark int, f func(event)) {
	for {
		w.mu.Lock()
		events, changed := w.events[mark:], w.changed
		w.mu.Unlock()
		for _, e := range events {
			f(e)
		}
		mark += len(events)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// count returns how many events after mark match.
func (w *world) count(mark int, match func(event) bool) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events[mark:] {
		if match(e) {
			n++
		}
	}
	return n
}

// busy waits for n more answers to the clients that go on, if there are any. Most modes wait for an upgrade now and then:
// if all that are left do, they are told of one, or no answer would come.
func busy(t *testing.T, run *raw.Run, n int) {
	t.Helper()
	got := run.Answered()
	want := got + n
	progress := time.Now()
	for deadline := progress.Add(patience); got < want && run.Alive() > 0; time.Sleep(5 * time.Millisecond) {
		switch now := time.Now(); {
		case run.Answered() > got:
			got, progress = run.Answered(), now
		case now.After(deadline): // clients cannot be waited for
			t.Fatalf("the clients have come to a stop: %d are left, with %d answers of %d", run.Alive(), got, want)
		case now.Sub(progress) > time.Second:
			progress = now
			run.Strike()
			run.Upgraded()
		}
	}
}

// handledOnce checks that each request was handled once, by whoever answered it.
func (w *world) handledOnce(res *raw.Result) {
	w.t.Helper()
	f, err := os.Open(w.conf.Handled)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if err := res.Handled(f); err != nil {
		w.t.Error(err)
	}
}

// lane is a connection on which a test asks step by step. It is never made anew.
type lane struct {
	c     net.Conn
	br    *bufio.Reader
	id, n int
	token string
}

// connect makes a connection on which nothing was said.
func (w *world) connect(id int) *lane {
	w.t.Helper()
	c, err := net.Dial(w.network(), w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return &lane{c: c, br: bufio.NewReader(c), id: id}
}

// send sends a request for a target that ends with ? or &.
func (k *lane) send(target string) error {
	k.n++
	k.token = fmt.Sprintf("lane-%d-%d.", k.id, k.n)
	_, err := fmt.Fprintf(k.c, "GET %stoken=%s HTTP/1.1\r\nHost: x\r\n\r\n", target, k.token)
	return err
}

// gate returns a target that is not answered before open is called, for lane.send.
func (w *world) gate() (target string, open func()) {
	w.t.Helper()
	path := filepath.Join(w.dir, "gate")
	if err := unix.Mkfifo(path, 0o666); err != nil {
		w.t.Fatal(err)
	}
	var f *os.File
	open = sync.OnceFunc(func() {
		var err error
		if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() {
		open() // whoever is behind it still
		_ = f.Close()
	})
	return "/until?gate=" + url.QueryEscape(path) + "&", open
}

// underWay waits until the program has begun to handle what was sent last on each of the connections.
func (w *world) underWay(ks ...*lane) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		handled, err := os.ReadFile(w.conf.Handled)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
		i := slices.IndexFunc(ks, func(k *lane) bool { return !bytes.Contains(handled, []byte(k.token)) })
		if i < 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the request %s does not begin", ks[i].token)
		}
	}
}

// reply reads the answer to what was sent: who answered, and whether the connection ends with it.
func (k *lane) reply() (pid int, leave bool, err error) {
	if err := k.c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, false, err
	}
	resp, err := http.ReadResponse(k.br, nil)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, false, err
	}
	if got := resp.Header.Get("X-Token"); resp.StatusCode != http.StatusOK || got != k.token {
		return 0, false, fmt.Errorf("asked for %s, got %s, %q", k.token, resp.Status, got)
	}
	if n := k.br.Buffered(); n > 0 {
		return 0, false, fmt.Errorf("%d bytes after the answer", n)
	}
	pid, err = strconv.Atoi(resp.Header.Get("X-Segue-Pid"))
	return pid, resp.Close, err
}

func (k *lane) ask(target string) (pid int, leave bool, err error) {
	if err := k.send(target); err != nil {
		return 0, false, err
	}
	return k.reply()
}

// answeredBy fails the test unless a process answers, and the connection stays.
func (k *lane) answeredBy(t *testing.T, pid int) {
	t.Helper()
	if got, leave, err := k.ask("/token?"); err != nil || got != pid || leave {
		t.Errorf("connection %d: answered by %d (the last answer: %t), %v; want pid %d", k.id, got, leave, err, pid)
	}
}

// dropped reports whether an error is what a client sees of a server that has died.
func dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}

// crowd makes n connections, each of which a process has answered once.
func (w *world) crowd(n, pid int) []*lane {
	w.t.Helper()
	ks := make([]*lane, n)
	for i := range ks {
		ks[i] = w.connect(i)
		if got, leave, err := ks[i].ask("/token?"); err != nil || got != pid || leave {
			w.t.Fatalf("connection %d: answered by %d (the last answer: %t), %v; want pid %d", i, got, leave, err, pid)
		}
	}
	return ks
}

// census is what became of a crowd.
type census struct {
	by      map[int]int // how many each process has answered, in a way that they stay
	leaving map[int]int // or told to leave
	stay    []*lane
	dropped int
}

// count asks each connection of a crowd.
func count(t *testing.T, ks []*lane) census {
	t.Helper()
	c := census{by: map[int]int{}, leaving: map[int]int{}}
	for _, k := range ks {
		pid, leave, err := k.ask("/token?")
		switch {
		case dropped(err):
			c.dropped++
			_ = k.c.Close()
		case err != nil:
			t.Errorf("connection %d: %v", k.id, err)
		case leave:
			c.leaving[pid]++
			_ = k.c.Close()
		default:
			c.by[pid]++
			c.stay = append(c.stay, k)
		}
	}
	return c
}

// allBy fails the test unless one process has answered all n, and all stay.
func (c census) allBy(t *testing.T, pid, n int) {
	t.Helper()
	if c.by[pid] != n || len(c.by) > 1 || len(c.leaving) > 0 || c.dropped > 0 {
		t.Errorf("of %d connections pid %d has answered %d: %+v, told to leave %v, dropped %d", n, pid, c.by[pid], c.by,
			c.leaving, c.dropped)
	}
}
