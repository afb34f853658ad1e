package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// store is a file that one process may have open, and that its requests need: what an embedded database is. It is the code
// of docs/one-process.md.
type store struct {
	name string
	e    *emitter

	mu sync.Mutex // held while there is no file
	f  *os.File
}

// open waits for the lock until ctx ends. It is called with mu held, and lets go of it when there is a file.
func (s *store) open(ctx context.Context) error {
	f, err := os.OpenFile(s.name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			s.f = f
			s.e.emit(event{Ev: "work"})
			s.mu.Unlock()
			return nil
		}
		select {
		case <-time.After(time.Millisecond): // nothing tells
		case <-ctx.Done():
			_ = f.Close()
			return errors.Join(err, ctx.Err())
		}
	}
}

// close leaves mu locked.
func (s *store) close() error {
	s.mu.Lock()
	if s.f == nil {
		return nil
	}
	s.e.emit(event{Ev: "rest"})
	f := s.f
	s.f = nil
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// section moves nothing, but is closed when no request is being answered, and open when the next one is.
func (s *store) section() handoff.Section {
	s.mu.Lock()
	return handoff.Section{
		Hold: func(context.Context) (release func(), err error) {
			reopen := func() {
				// A successor that has failed may have the lock until it has ended. Requests wait for it.
				go func() {
					if err := s.open(context.Background()); err != nil {
						s.e.result("reopen", err)
					}
				}()
			}
			return reopen, s.close()
		},
		Save:    func(context.Context, io.Writer) error { return nil },
		Restore: func(ctx context.Context, _ *io.SectionReader) error { return s.open(ctx) },
		Fresh:   s.open,
		Revival: handoff.RevivalKeep, // what the successor did is in the file
	}
}

// next adds a line, and returns how many there are.
func (s *store) next() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := fmt.Fprintln(s.f, os.Getpid()); err != nil {
		return 0, err
	}
	size, err := s.f.Seek(0, io.SeekStart)
	if err != nil || size != 0 {
		return 0, err
	}
	n := 0
	for lines := bufio.NewScanner(s.f); lines.Scan(); {
		n++
	}
	return n, nil
}

// roleStore is an HTTP server that needs its store for each request.
func roleStore(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	p, code := begin(ctx, c, e)
	if p == nil {
		return code
	}
	defer p.end()
	network, address, _ := strings.Cut(c.Listen[0], "/")
	ln, err := p.gen.Listen(ctx, network, address)
	s := &store{name: c.Lock, e: e}
	if err == nil {
		err = p.gen.State("store", s.section())
	}
	if err != nil {
		e.result("listen", err)
		return 1
	}
	h := func(w http.ResponseWriter, _ *http.Request) {
		n, err := s.next()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprint(w, n)
	}
	err = serve.Run(ctx, p.gen, serve.HTTP(&http.Server{Handler: http.HandlerFunc(h)}, ln))
	e.result("wait", err)
	if err != nil && ctx.Err() == nil {
		return 1
	}
	return 0
}

// TestStore: each request is answered with the store, over upgrades and a revival, and no answer is lost or doubled.
func TestStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "store")
	w.conf.Lock, w.conf.Guard = w.dir+"/store", time.Second
	p := w.start("store")
	w.wait(0, p.pid, "phase", "serving")

	quit := make(chan struct{})
	var mu sync.Mutex
	seen := make(map[int]bool)
	var wg sync.WaitGroup
	lost := 0
	for range 3 {
		wg.Go(func() {
			cl := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
			defer cl.CloseIdleConnections()
			for {
				select {
				case <-quit:
					return
				case <-time.After(2 * time.Millisecond): // the rate, no wait for anything
				}
				n, err := number(cl, "http://"+w.addr+"/")
				mu.Lock()
				switch {
				case err != nil:
					lost++
					t.Logf("a request failed: %v", err)
				case seen[n]:
					t.Errorf("%d twice", n)
				}
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	answered := func() {
		t.Helper()
		mu.Lock()
		was := len(seen)
		mu.Unlock()
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			mu.Lock()
			now := len(seen)
			mu.Unlock()
			if now > was+10 {
				return
			}
			if time.Now().After(end) {
				t.Fatal("nothing is answered")
			}
		}
	}
	for i := range 6 {
		p = w.take(ways[i%2], p, "store")
		answered()
	}
	mu.Lock()
	if lost > 0 {
		t.Errorf("%d requests failed", lost)
	}
	mu.Unlock()
	w.conf.Fault = "kill sent owned"
	mark := w.mark()
	b := w.start("store")
	w.ended(b)
	w.works(mark, p)
	answered()
	close(quit)
	wg.Wait()
	_, gaps := w.working()
	t.Logf("nobody had it for %v", gaps)
}

// number returns the number that a server answers with.
func number(cl *http.Client, url string) (int, error) {
	resp, err := cl.Post(url, "", nil) // which clients do not repeat
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, errors.Join(err, fmt.Errorf("status %s", resp.Status))
	}
	return strconv.Atoi(string(b))
}
