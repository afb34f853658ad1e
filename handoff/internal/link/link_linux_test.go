package link

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// linkPair returns two ends that talk to each other.
func linkPair(t *testing.T) (a, b *Link) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*Link, 2)
	for i, n := range pair {
		c, err := sys.UnixConn(listener.NewFD(n))
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = New(c, Options{Other: "successor", Step: time.Second})
		t.Cleanup(ends[i].Close)
	}
	return ends[0], ends[1]
}

// recv with a context that has ended gives all that was queued before, and then the end, each time at once: two of them
// in a row must not take each other's wake-up away.
func TestRecvLastLook(t *testing.T) {
	a, b := linkPair(t)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for round := range 20000 {
		if err := a.Send(&wire.Ping{}); err != nil {
			t.Fatal(err)
		}
		for got := 0; ; got++ {
			result := make(chan error, 1)
			go func() {
				_, err := b.Recv(done, 0)
				result <- err
			}()
			select {
			case err := <-result:
				if err == nil {
					continue
				}
				if !errors.Is(err, context.Canceled) || got != 1 {
					t.Fatalf("round %d: %d frames, then %v", round, got, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("round %d: recv hangs", round)
			}
			break
		}
	}
}

// TestEndBeforeDeadline: a process that was stopped finds its deadline over, and the end of the link there as well. The tables of
// package succession count on the end then, or an heir would give up what it could have taken.
func TestEndBeforeDeadline(t *testing.T) {
	over, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for name, why := range map[string]error{"context": context.DeadlineExceeded, "cause": NoAnswer(time.Second), "bound": nil} {
		for range 300 {
			a, b := linkPair(t)
			_ = b.Conn.Close()
			ctx, d := over, time.Duration(0)
			switch name {
			case "cause":
				var end context.CancelFunc
				ctx, end = context.WithDeadlineCause(t.Context(), time.Unix(1, 0), why)
				defer end()
			case "bound":
				ctx, d = t.Context(), time.Nanosecond
			}
			f, err := a.Recv(ctx, d)
			if !Over(err) {
				t.Fatalf("%s: got %+v, %v; want the end", name, f, err)
			}
		}
	}
}

// What came before the other end closed, with something unread, is passed on before a sync is answered.
func TestFlushReset(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := listener.NewFD(pair[1])
	c, err := sys.UnixConn(listener.NewFD(pair[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := &Link{Conn: c, frames: make(chan Frame, 10), synced: make(chan uint64, 1), quit: make(chan struct{})}
	unread, err := wire.Encode(&wire.Ping{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fdpass.Send(c, unread); err != nil {
		t.Fatal(err)
	}
	last, err := wire.Encode(&wire.Goodbye{Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Control(func(n uintptr) { err = unix.Sendmsg(int(n), last, nil, nil, 0) }); err != nil {
		t.Fatal(err)
	}
	_ = other.Close()
	l.flush(make([]byte, wire.MaxFrame))
	if len(l.frames) != 2 {
		t.Fatalf("%d frames were passed on", len(l.frames))
	}
	if f := <-l.frames; f.err != nil || f.Msg.Type() != "goodbye" {
		t.Errorf("got %+v", f)
	}
	if f := <-l.frames; f.err == nil {
		t.Errorf("then came %+v; want the end", f)
	}
}

// A batch waits while this user has too many descriptors in flight, which only other processes may know of.
func TestSendUntilInFlight(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 600, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	other, sink := listener.NewFD(pair[0]), listener.NewFD(pair[1])
	defer other.Close()
	a, b := linkPair(t)
	a.Step = time.Hour
	full := make(chan error)
	sent := make(chan error)
	over := make(chan struct{})
	close(over)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its user
		if os.Getuid() == 0 {
			const nobodyElse = 4321
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobodyElse, nobodyElse, nobodyElse); e != 0 {
				full <- e
				return
			}
		}
		full <- other.Control(func(sock uintptr) {
			for err == nil { // sockets count, as often as they are sent
				err = unix.Sendmsg(int(sock), []byte("x"), unix.UnixRights(slices.Repeat([]int{int(sock)}, 200)...), nil, unix.MSG_DONTWAIT)
			}
		})
		for _, stop := range []chan struct{}{over, nil} {
			sent <- a.SendUntil(stop, &wire.Conns{Name: "x", Records: []byte{0, 0}}, other)
		}
	}()
	if err := <-full; err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.ETOOMANYREFS) {
		t.Fatalf("got %v", err)
	}
	if err := <-sent; !errors.Is(err, unix.ETOOMANYREFS) {
		t.Errorf("when nothing is sent any more: %v", err)
	}
	select {
	case err := <-sent:
		t.Fatalf("sent while too many were in flight: %v", err)
	case <-time.After(5 * time.Millisecond): // not before it has been refused, most likely
	}
	_ = sink.Close() // with all that was sent
	if err := <-sent; err != nil {
		t.Error(err)
	}
	f, err := b.Recv(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Raw.Close()
}

// TestFlood: what is queued when a deadline, or the end of a context, is first seen comes before it. What is said later does not, so
// nobody who goes on to speak puts it off for ever.
func TestFlood(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	past := time.Now().Add(-time.Second)
	for name, recv := range map[string]func(*Link) (Frame, error){
		"deadline": func(l *Link) (Frame, error) { return l.RecvBy(t.Context(), past, time.Second) },
		"context":  func(l *Link) (Frame, error) { return l.Recv(ended, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := linkPair(t)
			for range 10 {
				if err := a.Send(&wire.Pong{}); err != nil {
					t.Fatal(err)
				}
			}
			for got := 0; ; got++ {
				f, err := recv(b)
				if err != nil {
					if got < 10 || got > 12 { // what is sent before the reader looks is queued, too
						t.Errorf("%d frames came before %v, want the 10 that were queued, and 2 at most", got, err)
					}
					return
				}
				f.Raw.Close()
				if got == 100 {
					t.Fatal("it is not over yet")
				}
				if err := a.Send(&wire.Ping{}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
