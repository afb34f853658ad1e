package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-go/segue/handoff"
)

// onceListener is a pipeListener whose Close says, like that of a net.TCPListener, when it was closed already.
type onceListener struct{ *pipeListener }

func (l onceListener) Close() error {
	select {
	case <-l.done:
		return &net.OpError{Op: "close", Net: "pipe", Err: net.ErrClosed}
	default:
		return l.pipeListener.Close()
	}
}

var errServerClosed = errors.New("this kind of server is closed")

// ownListener is a server that closes its listener itself, and waits for its connections after that, as fasthttp's does.
type ownListener struct {
	end   error // what serve returns
	mu    sync.Mutex
	ln    net.Listener
	conns sync.WaitGroup
	hold  chan struct{} // until then it serves what it has accepted
}

func (s *ownListener) serve(l net.Listener) error {
	s.mu.Lock()
	s.ln = l
	s.mu.Unlock()
	for {
		c, err := l.Accept()
		if err != nil {
			return s.end
		}
		s.conns.Go(func() {
			<-s.hold
			_ = c.Close()
		})
	}
}

func (s *ownListener) shutdown(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ln.Close(); err != nil {
		return err // and waits for nothing
	}
	s.conns.Wait()
	return nil
}

// A server that closes its own listener, and says in its own words that it is closed, ends without an error, and not before
// its connections have.
func TestServerClosesListener(t *testing.T) {
	for _, end := range []error{nil, net.ErrClosed, http.ErrServerClosed, errServerClosed} {
		for how, stop := range map[string]func(*running){
			"stopped": func(r *running) { r.stop() },
			"released": func(r *running) {
				r.gen.supersede()
				r.gen.closeListeners() // a little earlier, see released
				time.Sleep(time.Millisecond)
				if !r.gen.isClosed() {
					r.gen.release()
				}
			},
		} {
			t.Run(fmt.Sprint(how, " ", end), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ln := onceListener{newPipeListener()}
					s := &ownListener{end: end, hold: make(chan struct{})}
					gen := newFake(ln)
					drain := func(ctx context.Context) error {
						select {
						case <-gen.Released():
							return s.shutdown(ctx)
						case <-ctx.Done():
							return ctx.Err()
						}
					}
					r := start(gen, Func(ln, s.serve, drain))
					c := ln.dial()
					defer c.Close()
					r.pending(t)
					stop(r)
					r.pending(t)
					close(s.hold)
					r.returned(t, nil)
				})
			})
		}
	}
}

// A server that the program shuts down by itself when the context ends is no failure.
func TestServerShutDownByProgram(t *testing.T) {
	for _, end := range []error{nil, http.ErrServerClosed, errServerClosed} {
		synctest.Test(t, func(t *testing.T) {
			ln := onceListener{newPipeListener()}
			ctx, cancel := context.WithCancel(t.Context())
			err := run(ctx, newFake(ln), []Server{Func(ln, func(l net.Listener) error {
				cancel() // and as soon as that, before anybody else hears of it
				_, _ = l, l.Close()
				return end
			}, nil)})
			if err != nil {
				t.Errorf("Run: %v, after a server that returned %v", err, end)
			}
		})
	}
}

// What else a drain says than that something is closed is an error.
func TestDrainErrors(t *testing.T) {
	for _, tt := range []struct{ says, want error }{
		{&net.OpError{Op: "close", Err: net.ErrClosed}, nil},
		{http.ErrServerClosed, nil},
		{errors.Join(net.ErrClosed, http.ErrServerClosed), nil},
		{errTest, errTest},
		{errors.Join(net.ErrClosed, errTest), errTest},
		{fmt.Errorf("two: %w, %w", net.ErrClosed, errTest), errTest},
	} {
		for _, stops := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipeListener()
				r := start(newFake(ln), Func(ln, acceptLoop, func(context.Context) error { return tt.says }))
				r.pending(t)
				if stops {
					r.stop()
				} else {
					r.gen.supersede()
					r.gen.release()
				}
				r.returned(t, tt.want)
			})
		}
	}
}

// So it is with the listener of a real generation.
func TestServerClosesListenerOfGeneration(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gen, err := handoff.Join(ctx, handoff.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := gen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &ownListener{hold: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- Run(ctx, gen, Func(ln, s.serve, s.shutdown)) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	close(s.hold)
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}
