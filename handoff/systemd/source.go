package systemd

import (
	"context"
	"slices"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/listener"
)

// source is a service as its generation sees it.
type source service

// loan is what the generation has taken, until it is sure that it can use it.
type loan struct {
	d  *given
	fd *listener.FD
}

var (
	_ handoff.Source = (*source)(nil)
	_ hook.Observer  = (*source)(nil)
)

func (s *source) String() string { return "systemd" }

func (s *source) service() *service { return (*service)(s) }

// Open finds a socket by its name or address.
func (s *source) Open(_ context.Context, name, network, address string) (*listener.FD, error) {
	if network == "" {
		return nil, nil // a file
	}
	w, err := want(name, network, address)
	if err != nil {
		return nil, err
	}
	d, err := s.got.take(w)
	if d == nil {
		return nil, err
	}
	fd, err := listener.Dup(d.fd)
	if err != nil {
		s.got.giveBack(d)
		return nil, err
	}
	s.mu.Lock()
	s.taken = append(s.taken, &loan{d: d, fd: fd})
	s.mu.Unlock()
	s.log.Info("got a socket from systemd", "name", name, "socket", d.String())
	return fd, nil
}

// Return takes back what the generation could not use.
func (s *source) Return(fd *listener.FD) {
	if l := s.loanOf(fd, true); l != nil {
		s.got.giveBack(l.d)
	}
	_ = fd.Close()
}

// UnixPath says that the path of a stored socket is to be removed by the last generation that stops for good, because one has
// bound it. Those of socket units are systemd's.
func (s *source) UnixPath(fd *listener.FD) *listener.UnixPath {
	if l := s.loanOf(fd, false); l != nil {
		return l.d.path
	}
	return nil
}

func (s *source) Phase(_, to handoff.Phase) { s.service().phased(to) }

func (s *source) Settled() { s.service().settled() }

func (s *source) Opened(o hook.Socket) { s.service().opened(o) }

func (s *source) Closed(o hook.Socket) { s.service().closed(o) }

func (s *source) Keeps(o hook.Socket) bool { return s.service().keeps(o) }

func (s *source) Released(to hook.Successor) { s.service().released(to) }

func (s *source) Failed(err error) { s.service().upgradeFailed(err) }

func (s *source) loanOf(fd *listener.FD, remove bool) *loan {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.taken, func(l *loan) bool { return l.fd == fd })
	if i < 0 {
		return nil
	}
	l := s.taken[i]
	if remove {
		s.taken = slices.Delete(s.taken, i, i+1)
	}
	return l
}
