package serve

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errTest = errors.New("test error")

// acceptLoop is the simplest server: it closes what it accepts.
func acceptLoop(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_ = c.Close()
	}
}

func TestCommitsOnceWhenAllAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPipeListener(), newPipeListener()
		goOn := make(chan struct{})
		r := start(newFake(one, two),
			HTTP(&http.Server{}, one),
			Func(two, func(l net.Listener) error { <-goOn; return acceptLoop(l) }, nil),
			Func(nil, func(net.Listener) error { <-two.done; return nil }, nil))
		r.pending(t)
		if n := r.gen.readyCalls(); n != 0 {
			t.Fatalf("Ready was called %d times before all servers accepted", n)
		}
		close(goOn)
		r.pending(t)
		r.gen.supersede()
		r.gen.revive()
		r.pending(t)
		r.gen.supersede()
		r.gen.release()
		r.returned(t, nil)
		if n := r.gen.readyCalls(); n != 1 {
			t.Fatalf("Ready was called %d times", n)
		}
	})
}

func TestErrorBeforeReady(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(net.Listener) error
		want  error
		text  string
	}{
		{"error", func(net.Listener) error { return errTest }, errTest, "func on pipe: test error"},
		{"nil", func(net.Listener) error { return nil }, errReturned, "func on pipe: returned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two := newPipeListener(), newPipeListener()
				r := start(newFake(one, two), HTTP(&http.Server{}, one), Func(two, tt.serve, nil))
				r.returned(t, tt.want)
				if !strings.Contains(r.err.Error(), tt.text) {
					t.Errorf("error %q does not contain %q", r.err, tt.text)
				}
				if r.gen.readyCalls() != 0 || !r.gen.isClosed() {
					t.Error("the generation was made ready, or left open")
				}
			})
		})
	}
}

func TestCertificateMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTPS(&http.Server{}, ln, "no-such-cert.pem", "no-such-key.pem"))
		r.returned(t, fs.ErrNotExist)
		if r.gen.readyCalls() != 0 {
			t.Error("the generation was made ready")
		}
	})
}

// The first error ends all servers, but those in good order: what they have accepted is served.
func TestErrorOfOneEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPipeListener(), newPipeListener()
		fail := make(chan struct{})
		goOn := make(chan struct{})
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-goOn
			echo(w, r)
		})}
		bad := func(l net.Listener) error {
			go func() { _ = acceptLoop(l) }()
			<-fail
			return errTest
		}
		r := start(newFake(one, two), HTTP(s, one), Func(two, bad, nil))
		c := newClient(t, one.dial())
		c.send("GET /slow HTTP/1.1", "Host: test")
		r.pending(t)
		close(fail)
		r.pending(t)
		close(goOn)
		if body, _ := c.receive(); body != "/slow" {
			t.Errorf("response: %q", body)
		}
		c.ended()
		<-r.done
		r.returned(t, errTest)
	})
}

func TestReadyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		gen := newFake(ln)
		gen.onReady = func(context.Context) error { return errTest }
		r := start(gen, HTTP(&http.Server{}, ln))
		r.returned(t, errTest)
		if !gen.isClosed() {
			t.Error("the generation was left open")
		}
	})
}

func TestContextEndsBeforeReady(t *testing.T) {
	for _, tt := range []struct {
		name    string
		accept  bool
		onReady func(context.Context) error
	}{
		{"while starting", false, nil},
		{"in Ready", true, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipeListener()
				gen := newFake(ln)
				gen.onReady = tt.onReady
				r := start(gen, Func(ln, func(l net.Listener) error {
					if !tt.accept {
						<-ln.done
					}
					return acceptLoop(l)
				}, nil))
				r.pending(t)
				r.stop()
				r.returned(t, nil)
			})
		})
	}
}

// A deadline of Run's own context is a wish to stop, not a drain that ran out of time.
func TestDeadlineOfContextIsNoForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		gen := newFake(ln)
		goOn := make(chan struct{})
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-goOn
			echo(w, r)
		})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- run(ctx, gen, []Server{HTTP(s, ln)}) }()
		c := newClient(t, ln.dial())
		c.send("GET /slow HTTP/1.1", "Host: test")
		synctest.Wait()
		gen.supersede()
		time.Sleep(2 * time.Second)
		close(goOn)
		if body, _ := c.receive(); body != "/slow" {
			t.Errorf("response: %q", body)
		}
		c.ended()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestGenerationIsClosedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTP(&http.Server{}, ln))
		r.pending(t)
		_ = r.gen.Close()
		r.returned(t, net.ErrClosed)
	})
}

// A generation that hands its sockets back closes the listeners. That is its error, not the servers', and its clients
// are drained as if it had been superseded.
func TestHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln, grpc := newPipeListener(), newPipeListener()
		f := newFakeGRPC()
		close(f.clients)
		s := &http.Server{Handler: http.HandlerFunc(echo)}
		r := start(newFake(ln, grpc), HTTP(s, ln), GRPC(f, grpc))
		c := newClient(t, ln.dial())
		c.get("/", false)
		r.gen.handBack(errTest)
		r.pending(t)
		c.get("/", true)
		r.returned(t, errTest)
		if errors.Is(r.err, net.ErrClosed) {
			t.Errorf("Run: %v", r.err)
		}
	})
}

// A listener that the program itself closes is an error.
func TestListenerClosedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTP(&http.Server{}, ln))
		r.pending(t)
		_ = ln.Close()
		<-r.done
		r.returned(t, net.ErrClosed)
	})
}

func TestServerThatWillNotReturnIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		gen := newFake()
		gen.drainTimeout = time.Minute
		r := start(gen, Func(nil, func(net.Listener) error { <-goOn; return nil }, nil))
		r.pending(t)
		r.stop()
		<-r.done
		r.returned(t, context.DeadlineExceeded)
		if !strings.Contains(r.err.Error(), "did not return") {
			t.Errorf("error: %v", r.err)
		}
		close(goOn)
	})
}

func TestFuncDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		var calls []error
		drain := func(ctx context.Context) error {
			if len(calls) == 1 { // the second time, the clients leave by themselves
				calls = append(calls, nil)
				return nil
			}
			<-ctx.Done()
			calls = append(calls, ctx.Err())
			return ctx.Err()
		}
		r := start(newFake(ln), Func(ln, acceptLoop, drain))
		r.pending(t)
		r.gen.supersede()
		r.pending(t)
		r.gen.revive()
		r.pending(t)
		r.gen.supersede()
		r.gen.release()
		r.returned(t, nil)
		if len(calls) != 2 || calls[0] != context.Canceled {
			t.Errorf("drain was called %d times, ended by %v", len(calls), calls)
		}
	})
}

func TestErrorOfDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), Func(ln, acceptLoop, func(context.Context) error { return errTest }))
		r.pending(t)
		r.gen.supersede()
		r.gen.release()
		r.returned(t, errTest)
	})
}

func TestNothingToServe(t *testing.T) {
	ln := newPipeListener()
	for _, tt := range []struct {
		name    string
		servers []Server
	}{
		{"none", nil},
		{"zero", []Server{HTTP(&http.Server{}, ln), {}}},
		{"no http.Server", []Server{HTTP(nil, ln)}},
		{"no listener", []Server{HTTP(&http.Server{}, nil)}},
		{"https without listener", []Server{HTTPS(&http.Server{}, nil, "", "")}},
		{"no gRPC server", []Server{GRPC(nil, ln)}},
		{"no function", []Server{Func(ln, nil, nil)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gen := newFake(ln)
			if err := run(t.Context(), gen, tt.servers); err == nil {
				t.Error("no error")
			}
			if !gen.isClosed() || gen.readyCalls() != 0 {
				t.Error("the generation was made ready, or left open")
			}
		})
	}
	if err := Run(t.Context(), nil, HTTP(&http.Server{}, ln)); err == nil {
		t.Error("no generation, no error")
	}
}
