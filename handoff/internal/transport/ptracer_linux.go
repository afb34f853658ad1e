package transport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"golang.org/x/sys/unix"
)

// ptracer is the PR_SET_PTRACER (prctl(2)) of a process: the one other process, besides its ancestors, that Yama lets
// take descriptors from it while kernel.yama.ptrace_scope is 1. Handovers to several successors at once take turns.
type ptracer struct {
	turn chan struct{} // has room for one: who has put something in has the turn
	set  func(pid int) error
}

// thisPtracer is that of this process. It is a variable of the package because the kernel has one per process, which
// all that hand over in a process share: a second one would undo what the first has allowed (docs/adr/0011 says
// what else was thought of).
var thisPtracer = ptracer{turn: make(chan struct{}, 1), set: setPtracer}

func setPtracer(pid int) error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_PTRACER, uintptr(pid), 0, 0, 0))
}

// errNotAllowed: another handover of this process has the turn, and does not come to an end.
var errNotAllowed = errors.New("another handover of this process is letting its own successor take descriptors, " +
	"and a process can allow that to one at a time (PR_SET_PTRACER); try again")

// allow lets p, and nobody else, take descriptors of this process, until withdraw is called, which must be. It waits
// for its turn for at most patience, and then fails with errNotAllowed. Without Yama there is nothing to allow, and no
// turn.
func (t *ptracer) allow(ctx context.Context, p *peer.Peer, patience time.Duration) (withdraw func(), err error) {
	nothing := func() {}
	if p.PID == 0 || p.Self() {
		return nothing, nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case t.turn <- struct{}{}:
	case <-timer.C:
		return nothing, errNotAllowed
	case <-p.Done():
		return nothing, peer.ErrDied
	case <-ctx.Done():
		return nothing, context.Cause(ctx)
	}
	if t.set(p.PID) != nil { // EINVAL: no Yama
		<-t.turn
		return nothing, nil
	}
	withdraw = func() {
		_ = t.set(0)
		<-t.turn
	}
	if p.Dead() { // and its number another's, perhaps; if it lives, the number was its own
		withdraw()
		return nothing, fmt.Errorf("before it could be allowed to take descriptors: %w", peer.ErrDied)
	}
	return withdraw, nil
}
