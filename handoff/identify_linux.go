package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/listener"
)

// identify makes as sure as can be that a process is an incumbent of segue at this rendezvous, before it is killed for one:
// the rendezvous still vouches for it, it holds the rendezvous' very socket, which has the options that segue sets, and
// there is the lock that segue makes. It reports whether somebody else is to be called instead, or nobody.
//
// What is proven is the socket, not the program: who binds such a socket at a rendezvous, with its lock beside it, is taken
// for an incumbent. So is whoever called listen(2) last, should he have hung in between taking over and that call.
func (g *Generation) identify(ctx context.Context, incumbent *peer.Peer) (moved bool, err error) {
	name := ""
	if moved, err = g.callAgain(ctx, incumbent, &name); moved || err != nil {
		return moved, err
	}
	process, err := incumbent.Process()
	if err != nil {
		if incumbent.Dead() {
			return true, nil
		}
		return false, fmt.Errorf("rescue: the incumbent cannot be looked at; run this process in its PID namespace, or end it by hand: %w", err)
	}
	defer func() { _ = process.Close() }()
	held, err := holds(process, name)
	switch {
	case errors.Is(err, fdpass.ErrGone):
		incumbent.Await(ctx, link.ExitGrace)
		return incumbent.Dead(), err
	case err != nil:
		return false, fmt.Errorf("rescue: whether pid %d is an incumbent of segue cannot be known: %w", incumbent.PID, err)
	case !held:
		return false, fmt.Errorf("rescue: %w: pid %d, which does not answer at %s, is not known for an incumbent of segue, and left alone; choose another Path, or end it by hand",
			ErrProtocol, incumbent.PID, g.cfg.Path)
	}
	return false, g.checkLock(incumbent)
}

// moved reports whether the rendezvous vouches for somebody else by now, or for nobody.
func (g *Generation) moved(ctx context.Context, incumbent *peer.Peer) (bool, error) {
	return g.callAgain(ctx, incumbent, new(string))
}

// callAgain is moved, and sets name to the address of the rendezvous as the kernel has it.
func (g *Generation) callAgain(ctx context.Context, incumbent *peer.Peer, name *string) (moved bool, err error) {
	conn, err := dialRendezvous(g.cfg.Path)
	if err != nil {
		return true, err // join finds out the same
	}
	defer func() { _ = conn.Close() }()
	now, err := incumbentOf(conn)
	if err != nil {
		pause(ctx, lockPoll)
		return errors.Is(err, peer.ErrGone), err
	}
	defer func() { _ = now.Close() }()
	*name = conn.RemoteAddr().String()
	return now.PID != incumbent.PID || incumbent.Dead(), nil // alive, it is the only one with its number
}

// holds reports whether a process has a rendezvous of segue open that is bound to name.
func holds(process *fdpass.Process, name string) (bool, error) {
	dir := "/proc/" + strconv.Itoa(process.PID()) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		if fd, refused := process.Get(0); refused == nil {
			_ = fd.Close()
		} else if !errors.Is(refused, fdpass.ErrNotOpen) {
			return false, refused // it says what helps
		}
		return false, err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if link, err := os.Readlink(dir + "/" + e.Name()); err != nil || !strings.HasPrefix(link, "socket:") {
			continue
		}
		fd, err := process.Get(n)
		if errors.Is(err, fdpass.ErrNotOpen) {
			continue
		}
		if err != nil {
			return false, err
		}
		i, err := listener.Describe(fd)
		found := err == nil && i.Address == name && peer.IsRendezvous(fd, i)
		_ = fd.Close()
		if found {
			return true, nil
		}
	}
	return false, nil
}

// checkLock makes sure that the rendezvous has its lock, and that this process can take it: without, it would kill an
// incumbent whose place it cannot take.
func (g *Generation) checkLock(incumbent *peer.Peer) error {
	name := g.lockName()
	lock, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("rescue: the lock of the rendezvous, which every incumbent makes, cannot be opened; pid %d is left alone: %w",
			incumbent.PID, err)
	}
	defer lock.Close()
	info, err := lock.Stat()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || !peer.SameUser(st.Uid) && st.Uid != incumbent.UID {
		return fmt.Errorf("rescue: %w: %s is no lock of pid %d or of this user; pid %d is left alone",
			ErrUnauthorized, name, incumbent.PID, incumbent.PID)
	}
	return nil
}
