package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// errMoved: the rendezvous vouches for somebody else by now, or for nobody.
var errMoved = errors.New("the incumbent is not at the rendezvous any more")

// identify makes as sure as can be that a process is an incumbent of segue at this rendezvous, before it is killed for one:
// the rendezvous still vouches for it, it holds the rendezvous' very socket, which has the options that segue sets, and
// there is the lock that segue makes. The error is an errRetry if somebody else is to be called instead, or nobody.
//
// What is proven is the socket, not the program: a process that binds such a socket at a rendezvous, with its lock beside it,
// is taken for an incumbent. So is the one that called listen(2) last, should it have hung in between taking over and that call.
func (p Path) identify(ctx context.Context, incumbent *peer.Peer) error {
	name, err := p.callAgain(ctx, incumbent)
	if err != nil {
		return err
	}
	process, err := incumbent.Process()
	if err != nil {
		if incumbent.Dead() {
			return retry(err)
		}
		return fmt.Errorf("rescue: the incumbent cannot be looked at; run this process in its PID namespace, or end it by hand: %w", err)
	}
	defer func() { _ = process.Close() }()
	held, err := holds(process, name)
	switch {
	case errors.Is(err, fdpass.ErrGone):
		if incumbent.Await(ctx, peer.ExitGrace) {
			return retry(err)
		}
		return err
	case err != nil:
		return fmt.Errorf("rescue: whether pid %d is an incumbent of segue cannot be known: %w", incumbent.PID, err)
	case !held:
		return fmt.Errorf("rescue: %w: pid %d, which does not answer at %s, is not known for an incumbent of segue, and left alone; choose another Path, or end it by hand",
			wire.ErrProtocol, incumbent.PID, p)
	}
	if err := p.checkLock(incumbent); err != nil {
		return err
	}
	// One that was opened by its number: it holds the rendezvous, which named the number to a connection made after that.
	if !incumbent.Heard(incumbent.PID) {
		return retry(errMoved)
	}
	return nil
}

// callAgain returns the address of the rendezvous as the kernel has it, if it still vouches for incumbent. Otherwise the error is
// an errRetry.
func (p Path) callAgain(ctx context.Context, incumbent *peer.Peer) (name string, err error) {
	conn, err := p.Dial()
	if err != nil {
		return "", retry(err) // the next call finds out the same
	}
	defer func() { _ = conn.Close() }()
	now, err := IncumbentOf(conn)
	if err != nil {
		sleep(ctx, lockPoll)
		if errors.Is(err, peer.ErrGone) {
			return "", retry(err)
		}
		return "", err
	}
	defer func() { _ = now.Close() }()
	if now.PID != incumbent.PID || incumbent.Dead() { // alive, it is the only one with its number
		return "", retry(errMoved)
	}
	return conn.RemoteAddr().String(), nil
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
func (p Path) checkLock(incumbent *peer.Peer) error {
	name := p.lockName()
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
			peer.ErrUnauthorized, name, incumbent.PID, incumbent.PID)
	}
	return nil
}
