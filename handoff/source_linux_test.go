package handoff_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/listener"
)

// source is a handoff.Source that gives what it is told to, and remembers what it was asked.
type source struct {
	handoff.BaseSource
	mu     sync.Mutex
	fds    map[string][]*listener.FD // by name
	err    error
	asked  []string
	phases []handoff.Phase
	ask    func() // called by Open
}

func (s *source) Open(_ context.Context, name, network, address string) (*listener.FD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ask != nil {
		s.ask()
	}
	s.asked = append(s.asked, name+" "+network+" "+address)
	if s.err != nil {
		return nil, s.err
	}
	if fds := s.fds[name]; len(fds) > 0 {
		s.fds[name] = fds[1:]
		return fds[0], nil
	}
	return nil, nil
}

func (s *source) Phase(from, to handoff.Phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.phases) == 0 {
		s.phases = append(s.phases, from)
	}
	s.phases = append(s.phases, to)
}

func (s *source) seen() []handoff.Phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.phases)
}

// has makes the source have a listener under a name, and returns its address.
func (s *source) has(t *testing.T, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	fd, err := listener.Dup(l.(*net.TCPListener))
	must(t, err)
	if s.fds == nil {
		s.fds = map[string][]*listener.FD{}
	}
	s.fds[name] = append(s.fds[name], fd)
	return l.Addr().String()
}

// TestSources asks two sources in their order, for each socket.
func TestSources(t *testing.T) {
	first, second := &source{}, &source{}
	a, b, c := first.has(t, "a"), second.has(t, "a"), second.has(t, "b")
	asked := 0
	first.ask = func() { asked++ }
	second.ask = func() {
		if asked != len(first.asked) || asked != len(second.asked)+2 {
			t.Errorf("the second source is asked the %d. time, the first was %d times", len(second.asked)+1, asked)
		}
	}
	cfg := config(t, "")
	cfg.Sources = []handoff.Source{first, second}
	g, err := handoff.Join(bounded(t), cfg)
	must(t, err)
	defer g.Close()
	// A source has sockets by whatever the program asks for, so the address may well differ.
	for _, tt := range []struct{ name, want string }{{"a", a}, {"a", b}, {"b", c}} {
		ln, err := g.ListenAs(bounded(t), tt.name, "tcp", "127.0.0.1:0", nil)
		must(t, err)
		if got := ln.Addr().String(); got != tt.want {
			t.Errorf("%s is %s, want %s", tt.name, got, tt.want)
		}
	}
	ln, err := g.ListenAs(bounded(t), "a", "tcp", "127.0.0.1:0", nil) // nobody has one more
	must(t, err)
	if got := ln.Addr().String(); got == a || got == b {
		t.Errorf("got %s again", got)
	}
	if want := "a tcp 127.0.0.1:0"; len(first.asked) != 4 || first.asked[0] != want || len(second.asked) != 3 || second.asked[0] != want {
		t.Errorf("asked the first %q, the second %q", first.asked, second.asked)
	}
	must(t, g.Ready(bounded(t)))
	if got := g.Status().Sockets; len(got) != 4 || slices.ContainsFunc(got, func(s handoff.SocketStatus) bool { return s.Inherited }) {
		t.Errorf("status has %+v", got)
	}
	must(t, g.Close())
	for _, s := range []*source{first, second} {
		if want := []handoff.Phase{handoff.PhaseStarting, handoff.PhaseServing, handoff.PhaseStopped}; !slices.Equal(s.phases, want) {
			t.Errorf("told of %v, want %v", s.phases, want)
		}
	}
}

// TestSourceFails wants an error of a source to be that of Listen, nothing bound, and no other source asked.
func TestSourceFails(t *testing.T) {
	errSource := errors.New("no")
	first, second := &source{err: errSource}, &source{}
	cfg := config(t, "")
	cfg.Sources = []handoff.Source{first, second}
	g, err := handoff.Join(bounded(t), cfg)
	must(t, err)
	defer g.Close()
	var he *handoff.Error
	if _, err := g.Listen(bounded(t), "tcp", "127.0.0.1:0"); !errors.Is(err, errSource) || !errors.As(err, &he) || he.Op != "listen" {
		t.Errorf("listen: %v", err)
	}
	if len(second.asked) != 0 {
		t.Errorf("asked for %v", second.asked)
	}
	if s := g.Status().Sockets; len(s) != 0 {
		t.Errorf("has %+v", s)
	}
}

// TestSourceUnfit gives what cannot be listened on; the generation closes it.
func TestSourceUnfit(t *testing.T) {
	src := &source{}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer c.Close()
	fd, err := listener.Dup(c.(*net.UDPConn))
	must(t, err)
	src.fds = map[string][]*listener.FD{"a": {fd}}
	cfg := config(t, "")
	cfg.Sources = []handoff.Source{src}
	g, err := handoff.Join(bounded(t), cfg)
	must(t, err)
	defer g.Close()
	if _, err := g.ListenAs(bounded(t), "a", "tcp", "127.0.0.1:0", nil); !errors.Is(err, listener.ErrSocketType) {
		t.Errorf("listen: %v", err)
	}
	if err := fd.Control(func(uintptr) {}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it is still open: %v", err)
	}
}

// TestSourceAfterPredecessor lets a successor inherit what there is, and ask its source for the rest.
func TestSourceAfterPredecessor(t *testing.T) {
	path := rendezvous(t)
	old, err := handoff.Join(bounded(t), config(t, path))
	must(t, err)
	defer old.Close()
	inherited, err := old.ListenAs(bounded(t), "a", "tcp", "127.0.0.1:0", nil)
	must(t, err)
	must(t, old.Ready(bounded(t)))

	src := &source{}
	src.has(t, "a")
	more := src.has(t, "a")
	_ = src.fds["a"][0].Close() // which would be noticed
	src.fds["a"] = src.fds["a"][1:]
	cfg := config(t, path)
	cfg.Sources, cfg.Probation = []handoff.Source{src}, time.Millisecond
	next, err := handoff.Join(bounded(t), cfg)
	must(t, err)
	defer next.Close()
	for i, want := range []string{inherited.Addr().String(), more} {
		ln, err := next.ListenAs(bounded(t), "a", "tcp", "127.0.0.1:0", nil)
		must(t, err)
		if got := ln.Addr().String(); got != want {
			t.Errorf("socket %d is %s, want %s", i, got, want)
		}
		if len(src.asked) != i {
			t.Errorf("asked for %q after socket %d", src.asked, i)
		}
	}
	must(t, next.Ready(bounded(t)))
	must(t, old.Wait(bounded(t), nil))
	if want := []handoff.Phase{handoff.PhaseStarting, handoff.PhaseProbation, handoff.PhaseServing}; !slices.Equal(src.seen(), want) {
		t.Errorf("told of %v, want %v", src.seen(), want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
