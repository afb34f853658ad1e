package process

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

// All returns the listening and bound sockets of all processes that may be looked at, each socket once, and how many
// processes may not be. It reads /proc, and asks only those sockets of which that says too little: details stay zero.
func All(ctx context.Context) (all []Socket, refused int, err error) {
	pids, err := numbers("/proc")
	if err != nil {
		return nil, 0, fmt.Errorf("process: %w", err)
	}
	s := &survey{}
	for _, pid := range pids {
		if err := context.Cause(ctx); err != nil {
			return nil, 0, err
		}
		looked, err := lookAtAny(pid)
		switch {
		case err == nil:
			s.seen = append(s.seen, looked)
		case noRoom(err):
			return nil, 0, fmt.Errorf("process: %w", err)
		case errors.Is(err, os.ErrPermission):
			if st, err := statOf(pid); err == nil && !st.kernel {
				refused++
			}
		}
	}
	if s.entries, err = readEntries(s.seen); err == nil {
		err = s.askAmbiguous()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("process: %w", err)
	}
	return s.list(), refused, nil
}

// askAmbiguous asks the sockets that the tables cannot tell, where that is allowed. The error is that there is no room for
// another descriptor.
func (s *survey) askAmbiguous() error {
	for _, looked := range s.seen {
		for ino, ns := range looked.sockets {
			e := s.entries[ino]
			if !e.ambiguous() {
				continue
			}
			h, err := fdpass.OpenProcess(looked.pid)
			if err != nil {
				if noRoom(err) {
					return err
				}
				continue
			}
			d, err := describe(h, ns[0], ino)
			_ = h.Close()
			switch {
			case err == nil:
				asked := d.entry()
				asked.netNS = e.netNS
				s.entries[ino] = asked
			case noRoom(err):
				return err
			}
		}
	}
	return nil
}

// lookAtAny looks at whoever has a number.
func lookAtAny(pid int) (*seen, error) {
	h, err := fdpass.OpenProcess(pid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.Close() }()
	looked, err := lookAt(pid)
	if gone := h.Alive(); gone != nil {
		err = gone
	}
	return looked, err
}

// survey is one look at some processes.
type survey struct {
	seen    []*seen
	refused []error // of descendants that could not be looked at
	entries map[uint64]entry
	details map[uint64]detail // of what could be taken
	unknown map[uint64]error  // what is in no table that can be believed, and why it could not be taken
}

// detail is what a socket itself says.
type detail struct {
	listener.Info
	connected bool
}

// survey looks at the process and its descendants.
func (p *Process) survey(ctx context.Context) (*survey, error) {
	p.look.Lock()
	defer p.look.Unlock()
	main, err := p.handle(p.pid)
	if err != nil {
		return nil, err
	}
	s := &survey{details: map[uint64]detail{}, unknown: map[uint64]error{}}
	looked, err := lookAt(p.pid)
	if gone := main.Alive(); gone != nil {
		return nil, withState(p.pid, gone)
	}
	if err != nil {
		return nil, refusedLook(main.Process, err)
	}
	s.seen = append(s.seen, looked)
	handles := map[int]*handle{p.pid: main}
	fresh := []*handle{}
	defer func() { // those that turned out not to be needed
		for _, h := range fresh {
			if handles[h.PID()] != h {
				h.close()
			}
		}
	}()
	below, err := descendants(ctx, p.pid)
	if err != nil {
		return nil, err
	}
	for _, pid := range below {
		err := context.Cause(ctx)
		var h *handle
		var isNew bool
		if err == nil {
			h, isNew, err = p.child(pid)
		}
		if isNew {
			fresh = append(fresh, h)
		}
		var looked *seen
		if err == nil {
			looked, err = lookAtChild(h, below, p.pid)
		}
		switch {
		case looked != nil:
			s.seen = append(s.seen, looked)
			handles[pid] = h
		case context.Cause(ctx) != nil, noRoom(err):
			clear(handles)
			return nil, err
		case err != nil && !errors.Is(err, ErrGone):
			s.refused = append(s.refused, fmt.Errorf("process %d, a descendant: %w", pid, err))
		}
	}
	if s.entries, err = readEntries(s.seen); err == nil {
		err = s.ask(handles)
	}
	if err == nil {
		err = ended(p.pid) // then what was seen is not all that it had
	}
	if err != nil {
		clear(handles)
		return nil, withState(p.pid, err)
	}
	for _, looked := range s.seen[1:] {
		if !s.holds(looked) {
			delete(handles, looked.pid)
		}
	}
	return s, p.keep(handles)
}

// child returns the handle of a descendant, from the last look if it lives, or a new one.
func (p *Process) child(pid int) (h *handle, isNew bool, err error) {
	p.mu.Lock()
	h = p.held[pid]
	if h != nil && h.Alive() != nil {
		h.close()
		delete(p.held, pid)
		h = nil
	}
	p.mu.Unlock()
	if h != nil {
		return h, false, nil
	}
	h, err = hold(pid)
	return h, err == nil, err
}

// lookAtChild returns nil if the process has ended, or is not one of the descendants any more; an error besides ErrGone says
// that it may not be looked at.
func lookAtChild(h *handle, family []int, root int) (*seen, error) {
	pid := h.PID()
	st, err := statOf(pid)
	if err != nil || st.parent != root && !slices.Contains(family, st.parent) {
		if noRoom(err) {
			return nil, err
		}
		return nil, nil
	}
	looked, err := lookAt(pid)
	if h.Alive() != nil || ended(pid) != nil {
		return nil, nil
	}
	if err != nil && !noRoom(err) {
		err = refusedLook(h.Process, err)
	}
	return looked, err
}

// ask takes what is a listening or bound socket, or may be one, for an instant. A connection is not to be touched; but who
// is one is believed only of what cannot be forged. The error is that there is no room for another descriptor.
func (s *survey) ask(handles map[int]*handle) error {
	for _, looked := range s.seen {
		h := handles[looked.pid]
		for ino, ns := range looked.sockets {
			if _, done := s.details[ino]; done {
				continue
			}
			e := s.entries[ino]
			if _, ok := e.socket(); e.sure && !ok {
				continue
			}
			d, err := describe(h.Process, ns[0], ino)
			switch {
			case err == nil:
				s.details[ino] = d
				delete(s.unknown, ino)
			case noRoom(err):
				return err
			case !e.sure && !closed(err):
				s.unknown[ino] = err
			}
		}
	}
	return nil
}

// closed reports whether an error means that the process has closed what was looked at.
func closed(err error) bool {
	return errors.Is(err, ErrGone) || errors.Is(err, ErrChanged) || errors.Is(err, fdpass.ErrNotOpen)
}

// describe asks a socket what it is.
func describe(p *fdpass.Process, n int, ino uint64) (detail, error) {
	fd, err := p.GetInode(n, ino)
	if err != nil {
		return detail{}, err
	}
	defer fd.Close()
	d := detail{}
	if d.Info, err = listener.Describe(fd); err != nil {
		return d, err
	}
	err = fd.Control(func(n uintptr) {
		_, err := unix.Getpeername(int(n))
		d.connected = err == nil
	})
	return d, err
}

// entry is what a table would say of a socket that was asked.
func (d detail) entry() entry {
	e := entry{network: d.Network, inode: d.Ino, sure: true}
	switch d.Network {
	case "tcp", "udp":
		e.local, _ = netip.ParseAddrPort(d.Address)
		switch {
		case d.Listening:
			e.state = tcpListen
		case d.connected || d.Network == "tcp":
			e.state = tcpEstablished // or about to be, or closing
		}
	default:
		e.path, e.state = d.Address, unixUnconnected
		if d.Listening {
			e.flags = unixAccepting
		}
		if d.connected {
			e.state = unixConnected
		}
	}
	return e
}

// socket returns what is known of an inode, if it is a listening or bound socket. What the socket itself says comes
// before what the tables say; sockets that were made in another network namespace are in none of these.
func (s *survey) socket(ino uint64) (Socket, bool) {
	d, asked := s.details[ino]
	if !asked {
		return s.entries[ino].socket()
	}
	so, ok := d.entry().socket()
	if !ok || d.Network == "" { // of a kind that package net does not know
		return so, false
	}
	so.Address, so.NetNS = d.Address, s.entries[ino].netNS
	so.Detailed, so.Cookie, so.MPTCP = true, d.Cookie, d.Protocol == unix.IPPROTO_MPTCP
	so.V6Only, so.ReusePort = d.V6Only, d.ReusePort
	return so, true
}

// missed says why there may be sockets that were not found.
func (s *survey) missed() error {
	if len(s.refused) > 0 {
		return fmt.Errorf("%d of its descendants could not be looked at: %w", len(s.refused), s.refused[0])
	}
	for _, err := range s.unknown {
		return fmt.Errorf("%d of its sockets cannot be told from others: %w", len(s.unknown), err)
	}
	return nil
}

// holds reports whether a process has one of the listening or bound sockets.
func (s *survey) holds(looked *seen) bool {
	for ino := range looked.sockets {
		if _, ok := s.socket(ino); ok {
			return true
		}
	}
	return false
}

// list makes sockets of what was seen.
func (s *survey) list() []Socket {
	at := map[uint64]int{}
	var all []Socket
	for _, looked := range s.seen {
		for ino, ns := range looked.sockets {
			i, have := at[ino]
			if !have {
				so, ok := s.socket(ino)
				if !ok {
					continue
				}
				so.in(looked.dir)
				i = len(all)
				at[ino] = i
				all = append(all, so)
			}
			all[i].Holders = append(all[i].Holders, Holder{PID: looked.pid, Command: looked.command, FDs: ns})
		}
	}
	sortSockets(all)
	return all
}

// refusedLook says why a process may not be looked at. What keeps this process from looking keeps it from taking too, and
// package fdpass can name the cause.
func refusedLook(p *fdpass.Process, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		fd, why := p.Get(0)
		_ = fd.Close()
		if errors.Is(why, ErrRefused) {
			return why
		}
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: it runs, but is not in /proc; is that mounted, and without hidepid? %w", ErrRefused, err)
	}
	return err
}
