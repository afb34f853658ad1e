package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/listener"
)

// Options say what becomes of the process whose sockets are taken. The zero value leaves it running.
type Options struct {
	// Signal is sent to the process once the generation that took its sockets serves and cannot hand back any more: at once
	// if it has no predecessor, else when that one has given up its guard. SIGQUIT makes nginx finish what it is doing and
	// end. 0: none; both go on accepting, from one queue.
	//
	// It is withheld, and an error logged and returned by Close, if not all sockets at an address that was asked for were
	// taken and are still held, or if that cannot be told, because there are descendants or sockets of the process that
	// this one may not look at: connections in the queue of one that is left would be reset when the process closes it.
	Signal syscall.Signal

	// Idle is for processes that drop what they are serving when they get the signal: it is sent when the process has no
	// connection of these sockets open (see [Process.SignalIdle]), or after so long in any case. 0: at once.
	Idle time.Duration

	// MayBeGone is for a program that keeps the Source in its configuration: a process that has ended has no sockets.
	// Without, it is an error if a socket is asked for. A successor that inherits all its sockets never asks.
	MayBeGone bool

	// Logger receives what an operator wants to know. Nil: silent.
	Logger *slog.Logger
}

// Source is the [handoff.Source] of the sockets of a running process. It is made by [Sockets].
//
// A socket of the process is found by the network and address that the program listens on, by the rules of [Match]. Each
// Listen takes one that was not taken before. So a program that asks for ":80" takes the sockets 0.0.0.0:80 and [::]:80
// of a process if it listens twice, and those of a SO_REUSEPORT group if it listens as often as the group is large;
// [Source.List] with Match says how often that is. If the process has none for an address, the program binds it
// afresh, unless that would be in the way of another socket of the process; that is a [NoSocketError].
type Source struct {
	pid  int
	o    Options
	p    *Process
	err  error // why there is no p
	log  *slog.Logger
	stop context.CancelFunc
	ctx  context.Context
	end  sync.WaitGroup // what sends the signal, and closes p

	open sync.Mutex // one Open at a time

	mu      sync.Mutex
	taken   []*taken
	asked   []want
	settled bool
	ended   bool
	endErr  error
}

var _ handoff.Source = (*Source)(nil)

// taken is a socket that was given to the generation.
type taken struct {
	Socket
	fd *listener.FD // the generation's; only to be compared

	// blocking is a copy, if the process relies on calls that block. It serves to restore that.
	blocking *listener.FD
}

// Sockets makes a Source of the sockets of a process and of its descendants. The process is held from now on, so that
// its number cannot come to mean another; whether that worked is told when the first socket is asked for.
//
// The Source ends itself once the signal is sent, or its generation has stopped. Close ends it earlier, and says how it
// went.
func Sockets(pid int, o Options) *Source {
	s := &Source{pid: pid, o: o, log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("process", pid)
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.p, s.err = Open(pid)
	return s
}

// List returns what there is to take, like [Process.List].
func (s *Source) List(ctx context.Context) ([]Socket, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.p.List(ctx)
}

// Open takes a socket of the process; it is called by [handoff.Generation.ListenAs]. It returns nil if the process has
// none (more) for this address.
func (s *Source) Open(ctx context.Context, _, network, address string) (*listener.FD, error) {
	s.open.Lock()
	defer s.open.Unlock()
	if network == "" || s.over() {
		return nil, nil // a File, or too late: the process may be about to end
	}
	w, err := parseWant(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if !slices.Contains(s.asked, w) {
		s.asked = append(s.asked, w) // also if nothing comes of it: then the process has what the program wanted
	}
	s.mu.Unlock()
	const attempts = 3 // a worker may end between the look and the taking
	for n := 1; ; n++ {
		fd, err := s.take(ctx, w, network, address)
		if err == nil || n == attempts || !errors.Is(err, ErrChanged) && !errors.Is(err, ErrGone) || s.p == nil || s.p.Alive() != nil {
			return fd, err
		}
	}
}

// take looks for a socket, and takes it.
func (s *Source) take(ctx context.Context, w want, network, address string) (*listener.FD, error) {
	all, err := s.List(ctx)
	if err != nil {
		if s.o.MayBeGone && errors.Is(err, ErrGone) {
			s.log.Info("the process is gone; there is nothing to take", "address", address)
			return nil, nil
		}
		return nil, err
	}
	if !slices.ContainsFunc(all, w.matches) {
		if slices.ContainsFunc(all, w.clashes) {
			return nil, &NoSocketError{PID: s.pid, Network: network, Address: address, Have: all}
		}
		return nil, nil
	}
	left := s.left(all, w.matches)
	if len(left) == 0 {
		return nil, nil
	}
	fd, err := s.p.Take(left[0])
	if err != nil {
		return nil, err
	}
	t := &taken{Socket: left[0], fd: fd}
	if err := s.examine(t); err != nil {
		_ = fd.Close()
		return nil, fmt.Errorf("process: %s: %w", t.Socket, err)
	}
	if t.blocking != nil {
		s.log.Warn("the process expects this socket to block, which it does no more once this program serves: unless it is told to end, its next accept may fail with EAGAIN",
			"socket", t.String())
	}
	s.mu.Lock()
	if s.settled { // it may be a successor's one day, which needs it as it is
		t.forget()
	}
	s.taken = append(s.taken, t)
	s.mu.Unlock()
	s.log.Info("took a socket", "socket", t.String())
	return fd, nil
}

// examine looks at a socket that was taken.
func (s *Source) examine(t *taken) error {
	i, err := listener.Describe(t.fd)
	if err != nil {
		return err
	}
	t.Cookie, t.Detailed = i.Cookie, true
	if i.Flags&syscall.O_NONBLOCK != 0 {
		return nil
	}
	t.blocking, err = listener.Dup(t.fd)
	return err
}

// Return takes back a socket that the generation could not use; it can be asked for again.
func (s *Source) Return(fd *listener.FD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.taken, func(t *taken) bool { return t.fd == fd }); i >= 0 {
		s.taken[i].restore()
		s.taken = slices.Delete(s.taken, i, i+1)
	}
	_ = fd.Close() // the process has it still
}

// UnixPath is called by the generation. It returns nil: the files of the process's Unix sockets are the process's to remove.
func (s *Source) UnixPath(*listener.FD) *listener.UnixPath { return nil }

// restore makes the socket as it was for the process.
func (t *taken) restore() {
	if t.blocking != nil {
		_ = setBlocking(t.blocking) // else it is closed already
	}
	t.forget()
}

func (t *taken) forget() {
	_ = t.blocking.Close()
	t.blocking = nil
}

// left returns those of all that match and are not taken.
func (s *Source) left(all []Socket, match func(Socket) bool) []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []Socket
	for _, so := range all {
		if match(so) && !slices.ContainsFunc(s.taken, func(t *taken) bool { return t.same(so) }) {
			left = append(left, so)
		}
	}
	return left
}

func (s *Source) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended || s.settled && s.o.Signal != 0
}

// Settled is called by the generation, once it cannot hand back any more. It returns at once.
func (s *Source) Settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.settled {
		return
	}
	s.settled = true
	for _, t := range s.taken {
		t.forget()
	}
	switch {
	case s.o.Signal == 0: // there may be more to take later
	case len(s.taken) > 0:
		s.end.Go(s.tell)
	default:
		s.endLocked()
	}
}

// Phase is called by the generation. It returns at once.
func (s *Source) Phase(_, to handoff.Phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// One that drains without Settled before has handed back: it has let go of the sockets, and answers what it accepted.
	if to != handoff.PhaseStopped && (to != handoff.PhaseDraining || s.settled) {
		return
	}
	for _, t := range s.taken { // none of them is left with a successor, unless Settled was called
		t.restore()
	}
	s.endLocked()
}

// tell sends the signal. Afterwards there is nothing left to do here.
func (s *Source) tell() {
	err := s.signal()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endErr = err
	s.endLocked()
}

func (s *Source) signal() error {
	log := s.log.With("signal", s.o.Signal.String())
	err := s.mayTell()
	if err == nil && s.o.Idle > 0 {
		ctx, cancel := context.WithTimeout(s.ctx, s.o.Idle)
		err = s.p.SignalIdle(ctx, s.o.Signal, s.sockets()...)
		cancel()
		if err == nil {
			log.Info("told the process while it had no connection")
			return nil
		}
		if s.ctx.Err() == nil && !errors.Is(err, ErrGone) {
			log.Warn("the process is told although it may have connections", "error", err)
			err = nil
		}
	}
	if err == nil {
		err = s.p.Signal(s.o.Signal)
	}
	switch {
	case err == nil:
		log.Info("told the process")
	case errors.Is(err, ErrGone):
		log.Info("the process has ended by itself")
		err = nil
	default:
		log.Error("the process was not told and goes on", "error", err)
	}
	return err
}

func (s *Source) sockets() []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Socket
	for _, t := range s.taken {
		all = append(all, t.Socket)
	}
	return all
}

// mayTell returns an error if the process has another socket at one of the addresses that were asked for, or may have.
func (s *Source) mayTell() error {
	all, missed, err := s.p.listAll(s.ctx)
	if err != nil {
		return err
	}
	if missed != nil {
		return fmt.Errorf("process: process %d may have more sockets at an address that was taken over, whose queues would be lost; make sure, and then send %s yourself: %w",
			s.pid, s.o.Signal, missed)
	}
	held, err := ownSockets()
	if err != nil {
		return err
	}
	s.mu.Lock()
	asked := slices.Clone(s.asked)
	// What the program has closed is with the process alone.
	s.taken = slices.DeleteFunc(s.taken, func(t *taken) bool { return !held[t.Inode] })
	s.mu.Unlock()
	left := s.left(all, func(so Socket) bool {
		return slices.ContainsFunc(asked, func(w want) bool { return w.matches(so) })
	})
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("process: %d more sockets of process %d have an address that was taken over, and their queues would be lost; listen once for each of them, and then send %s yourself: %s",
		len(left), s.pid, s.o.Signal, left[0])
}

// endLocked lets go of the process, in the background.
func (s *Source) endLocked() {
	if s.ended {
		return
	}
	s.ended = true
	s.stop()
	for _, t := range s.taken {
		t.forget()
	}
	if s.p != nil {
		s.end.Go(func() { _ = s.p.Close() })
	}
}

// Close lets go of the process; a signal that was not sent yet is not sent. Close the generation first. It waits for what is running, and returns why
// the process was not told, if it was to be. What was taken stays the generation's. It is idempotent.
func (s *Source) Close() error {
	s.mu.Lock()
	s.endLocked()
	s.mu.Unlock()
	s.end.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endErr
}
