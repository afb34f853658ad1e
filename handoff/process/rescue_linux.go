package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sockdiag"
	"github.com/segue-go/segue/listener"
)

// Rescue takes copies of all listening and bound sockets of a process by pidfd_getfd(2), and gives them to whoever asks. It
// is for [handoff.Config].Rescue, which calls it for an incumbent that is stopped or deadlocked: the incumbent does not
// have to take part. The sockets that it shares with its children are taken, those that only they have are not.
//
// The Source finds sockets by network and address, by the rules of [Match], not by name: a program that asked for
// ":8080" gets the incumbent's [::]:8080. A port 0 finds nothing, and neither does an [handoff.Generation.File]; both are
// made afresh. Each Listen gets one socket of a group. A Unix socket comes with its path, if that is still the file that
// its bind made: it is then removed by the last generation that stops for good.
//
// Rendezvous of segue are not taken (Unix sockets of type SOCK_SEQPACKET that listen with SO_PASSPIDFD): as long as
// anybody holds one, callers wait there for nobody. What nobody has asked for by the time the generation serves, or
// stops, is closed, and clients that wait in its queue are reset. So in a process with several Generations only the one
// that rescues gets sockets.
//
// Who holds no rendezvous is no incumbent: nothing is taken then, and handoff kills nobody. All sockets are taken or none.
// Errors: [ErrNoRendezvous]; [ErrGone]; [ErrRefused], with its cause, where the kernel forbids it (see What
// it needs, above); EMFILE; a context's cause.
func Rescue(ctx context.Context, incumbent handoff.Peer) (handoff.Source, error) {
	if incumbent.PID <= 0 {
		return nil, fmt.Errorf("process: rescue: the incumbent has no number in this PID namespace; run this process in the incumbent's, or end that one by hand: %w", ErrRefused)
	}
	p, err := Open(incumbent.PID)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	const attempts = 3 // it may be alive, and close and open sockets meanwhile
	for n := 1; ; n++ {
		r, err := p.rescue(ctx)
		if err == nil {
			return r, nil
		}
		if n == attempts || !errors.Is(err, ErrChanged) {
			return nil, err
		}
	}
}

func (p *Process) rescue(ctx context.Context) (*rescued, error) {
	all, err := p.List(ctx)
	if err != nil {
		return nil, err
	}
	r := &rescued{pid: p.pid}
	rendezvous := false
	seen := map[uint64]bool{} // by cookie
	for _, s := range all {
		i := slices.IndexFunc(s.Holders, func(h Holder) bool { return h.PID == p.pid })
		if i < 0 {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			r.close()
			return nil, err
		}
		s.Holders = s.Holders[i : i+1]
		h, err := p.salvage(s)
		rendezvous = rendezvous || h == nil && err == nil
		if err != nil {
			r.close()
			return nil, err
		}
		if h == nil || seen[h.cookie] {
			_ = h.drop()
			continue
		}
		seen[h.cookie] = true
		r.left = append(r.left, h)
	}
	if err := p.Alive(); err != nil { // or its number was another's meanwhile
		r.close()
		return nil, err
	}
	if !rendezvous {
		r.close()
		return nil, fmt.Errorf("process: rescue: process %d is no incumbent: %w", p.pid, ErrNoRendezvous)
	}
	return r, nil
}

// salvage takes one socket; nil is a rendezvous.
func (p *Process) salvage(s Socket) (*salvaged, error) {
	fd, err := p.Take(s)
	if err != nil {
		return nil, err
	}
	i, err := listener.Describe(fd)
	if err == nil && peer.IsRendezvous(fd, i) {
		return nil, fd.Close()
	}
	if err != nil {
		_ = fd.Close()
		return nil, fmt.Errorf("process: %s: %w", s, err)
	}
	// What the socket says now counts.
	s.Network, s.Address = i.Network, i.Address
	return &salvaged{Socket: s, fd: fd, cookie: i.Cookie, path: unixPath(i, s.file())}, nil
}

// rescued is the Source of what was taken.
type rescued struct {
	handoff.BaseSource
	pid int

	mu   sync.Mutex
	over bool // what was not asked for is closed
	left []*salvaged
	gave []*salvaged // what was asked for; the descriptors are the generation's
}

// salvaged is a socket of the incumbent.
type salvaged struct {
	Socket
	fd     *listener.FD
	cookie uint64
	path   *listener.UnixPath // nil if there is none to remove
}

func (s *salvaged) drop() error {
	if s == nil {
		return nil
	}
	return s.fd.Close()
}

// Open gives away the first socket that matches and was not given away before.
func (r *rescued) Open(ctx context.Context, _, network, address string) (*listener.FD, error) {
	if network == "" {
		return nil, nil // a File
	}
	w, err := parseWant(ctx, network, address)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.left, func(s *salvaged) bool { return w.matches(s.Socket) }); i >= 0 {
		s := r.left[i]
		r.left = slices.Delete(r.left, i, i+1)
		r.gave = append(r.gave, s)
		return s.fd, nil
	}
	if slices.ContainsFunc(r.gave, func(s *salvaged) bool { return w.matches(s.Socket) }) {
		return nil, nil
	}
	var have []Socket
	clash := false
	for _, s := range r.left {
		have = append(have, s.Socket)
		clash = clash || w.clashes(s.Socket)
	}
	if clash {
		return nil, &NoSocketError{PID: r.pid, Network: network, Address: address, Have: have}
	}
	return nil, nil
}

// Return takes back a socket that the generation could not use: there is no other copy of it.
func (r *rescued) Return(fd *listener.FD) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.gave, func(s *salvaged) bool { return s.fd == fd })
	if i < 0 || r.over {
		_ = fd.Close()
		return
	}
	r.left = slices.Insert(r.left, 0, r.gave[i])
	r.gave = slices.Delete(r.gave, i, i+1)
}

// UnixPath is asked by the generation for a socket that Open gave it: which file to remove when it is closed for good.
func (r *rescued) UnixPath(fd *listener.FD) *listener.UnixPath {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.gave {
		if s.fd == fd {
			return s.path
		}
	}
	return nil
}

// Phase closes what nobody has asked for.
func (r *rescued) Phase(_, to handoff.Phase) {
	if to == handoff.PhaseServing || to == handoff.PhaseStopped {
		r.close()
	}
}

func (r *rescued) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for _, s := range r.left {
		_ = s.drop()
	}
	r.left = nil
}

// unixPath returns the file of a Unix socket, if that is what its bind made: in the place of a file that was removed,
// another may be.
func unixPath(i listener.Info, path string) *listener.UnixPath {
	if !strings.HasPrefix(i.Network, "unix") || i.Address == "" || strings.HasPrefix(i.Address, "@") {
		return nil
	}
	dev, ino, err := sockdiag.BoundFile(uint32(i.Ino))
	if err != nil {
		return nil // it is not known, so it stays
	}
	if path == "" {
		return nil // relative to where nobody knows
	}
	p, err := listener.StatUnixPath(path)
	if err != nil || uint32(p.Ino) != ino || unix.Major(p.Dev)<<20|unix.Minor(p.Dev) != dev {
		return nil
	}
	return p
}
