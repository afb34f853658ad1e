package serve

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// fakeGRPC behaves as *grpc.Server does.
type fakeGRPC struct {
	clients  chan struct{} // closed when the last client has gone
	graceful chan struct{} // closed by GracefulStop
	stopped  chan struct{} // closed by Stop
}

func newFakeGRPC() *fakeGRPC {
	return &fakeGRPC{make(chan struct{}), make(chan struct{}), make(chan struct{})}
}

func (f *fakeGRPC) Serve(l net.Listener) error {
	err := acceptLoop(l)
	if closed(f.graceful) {
		return nil
	}
	return err
}

func (f *fakeGRPC) GracefulStop() {
	close(f.graceful)
	select {
	case <-f.clients:
	case <-f.stopped:
	}
}

func (f *fakeGRPC) Stop() { close(f.stopped) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestGracefulStopWaitsForRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		f := newFakeGRPC()
		r := start(newFake(ln), GRPC(f, ln))
		r.pending(t)
		r.gen.supersede()
		r.pending(t)
		r.gen.revive()
		r.pending(t)
		r.gen.supersede()
		time.Sleep(time.Hour)
		r.pending(t)
		if closed(f.graceful) {
			t.Fatal("GracefulStop was called while the generation could be revived")
		}
		r.gen.release()
		r.pending(t)
		if !closed(f.graceful) {
			t.Fatal("GracefulStop was not called")
		}
		close(f.clients)
		r.returned(t, nil)
		if closed(f.stopped) {
			t.Error("Stop was called")
		}
	})
}

func TestGRPCDrainTimeout(t *testing.T) {
	for _, tt := range []struct {
		name  string
		guard time.Duration
	}{
		{"after the guard", time.Second},
		{"within the guard", time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipeListener()
				gen := newFake(ln)
				gen.drainTimeout = time.Minute
				f := newFakeGRPC()
				r := start(gen, GRPC(f, ln))
				r.pending(t)
				begin := time.Now()
				gen.supersede()
				time.AfterFunc(tt.guard, gen.release)
				<-f.stopped
				if d, want := time.Since(begin), max(tt.guard, time.Minute); d != want {
					t.Errorf("Stop was called after %v, want %v", d, want)
				}
				<-r.done
				r.returned(t, nil)
			})
		})
	}
}

func TestContextEndsGRPC(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(*fakeGeneration)
	}{
		{"serving", func(*fakeGeneration) {}},
		{"superseded", func(g *fakeGeneration) { g.supersede() }},
		{"released", func(g *fakeGeneration) { g.supersede(); g.release() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipeListener()
				f := newFakeGRPC()
				r := start(newFake(ln), GRPC(f, ln))
				r.pending(t)
				tt.prepare(r.gen)
				r.pending(t)
				r.stop()
				r.pending(t)
				if !closed(f.graceful) || closed(f.stopped) {
					t.Fatal("not stopped gracefully")
				}
				close(f.clients)
				r.returned(t, nil)
			})
		})
	}
}

func TestContextEndsGRPCByForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		f := newFakeGRPC()
		gen := newFake(ln)
		gen.drainTimeout = time.Minute
		r := start(gen, GRPC(f, ln))
		r.pending(t)
		r.stop()
		<-r.done
		r.returned(t, nil)
		if !closed(f.stopped) {
			t.Error("Stop was not called")
		}
	})
}
