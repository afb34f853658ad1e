package handoff

import (
	"context"
	"os/exec"
	"syscall"

	"github.com/segue-go/segue/handoff/internal/sockets"
)

// Lent is a resource of a generation that a process which does not speak segue's protocol is to have as well.
type Lent struct {
	Name    string
	Kind    string // listener, packet or file
	Network string // as the program asked for it; "" for a file
	Address string // likewise: "127.0.0.1:0" where the kernel chose the port

	// Conn stays the generation's. It may be duplicated (listener.Dup) until the function that got it returns.
	Conn syscall.Conn
}

// UpgradeTo hands everything over to a process that does not speak segue's protocol, such as one that package tableflip
// starts. start starts it: it gives it copies of what the generation has, in the order in which the program asked for it, and
// returns nil once that process serves and is to go on, or an error once it is dead. cmd is the command that Upgrade would
// start, for start to change and to start. If start starts something else instead, the generation does not know which process has
// taken over: under package systemd it counts as one that is not of the unit, which ends when this process does.
//
// Until start has returned this generation serves on, so for as long as the other process serves already, both accept from the
// same queues. If start returns nil, this generation accepts nothing more: it is superseded, nothing can revive it, and Wait drains
// and returns as ever. Paths of Unix sockets and the PID file stay; the rendezvous is removed. If start fails, all is as before.
// Live connections and state do not move. Sections with Hold alone are held before this generation lets go, but the other
// process, which serves already, does not know of that.
//
// ctx, which start gets, ends after ReadyTimeout and with Close. An error after start has returned nil means that the other
// process serves although this one did not let go, so start has to tell the caller how to end it: both serve. That takes a
// generation that is closed at this moment, or a process without descriptors.
//
// Errors: that of start; [BusyError], [ErrNotOwner]; [errors.ErrUnsupported] where segue cannot hand over. Process 1 is refused,
// because the other process would end with it.
func (g *Generation) UpgradeTo(ctx context.Context, start func(ctx context.Context, cmd *exec.Cmd, lent []Lent) error) error {
	return g.errorf("upgrade", g.driver.UpgradeTo(ctx, func(ctx context.Context, cmd *exec.Cmd, all []*sockets.Socket) error {
		var lent []Lent
		for _, o := range all {
			lent = append(lent, Lent{Name: o.Name(), Kind: o.Kind(), Network: o.Network(), Address: o.Asked(), Conn: o})
		}
		return start(ctx, cmd, lent)
	}))
}
