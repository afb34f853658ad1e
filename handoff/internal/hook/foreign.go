package hook

import (
	"context"
	"os/exec"
	"syscall"
)

// Lent is a resource of a generation that a process which does not speak segue's protocol is to have as well.
type Lent struct {
	Name    string
	Kind    string // listener, packet or file
	Network string // as the program asked for it; "" for a file
	Address string // as the program asked for it: "127.0.0.1:0" where the kernel chose the port

	// Conn stays the generation's. It may be duplicated (listener.Dup) until the function that got it returns.
	Conn syscall.Conn
}

// Start starts a process that does not speak segue's protocol, by cmd: it gives it copies of lent, and returns nil once that process
// serves and is to go on, or an error once it is dead.
type Start func(ctx context.Context, cmd *exec.Cmd, lent []Lent) error

// Upgrader is embedded in a generation, under a name that is not exported, so that [UpgradeTo] is no part of the generation's API.
type Upgrader struct {
	to func(context.Context, Start) error
}

// NewUpgrader makes an Upgrader that hands over by calling to.
func NewUpgrader(to func(context.Context, Start) error) Upgrader { return Upgrader{to} }

func (u Upgrader) upgradeTo(ctx context.Context, start Start) error { return u.to(ctx, start) }

// UpgradeTo hands everything over to a process that does not speak segue's protocol, such as one that package tableflip
// starts. start gets what the generation has, in the order in which the program asked for it, and the command that Upgrade would
// start, to change it and to start it. If start starts something else instead, the generation does not know which process has
// taken over: under package systemd it counts as one that is not of the unit, which ends when this process does.
//
// Until start has returned the generation serves on, so for as long as the other process serves already, both accept from the
// same queues. If start returns nil, the generation accepts nothing more: it is superseded, nothing can revive it, and Wait drains
// and returns as ever. Paths of Unix sockets and the PID file stay; the rendezvous is removed. If start fails, all is as before.
// Live connections and state do not move. Sections with Hold alone are held before the generation lets go, but the other
// process, which serves already, does not know of that.
//
// ctx, which start gets, ends after ReadyTimeout and with Close. An error after start has returned nil means that the other
// process serves although this one did not let go, so start has to tell the caller how to end it: both serve. That takes a
// generation that is closed at this moment, or a process without descriptors.
//
// Errors: that of start; handoff.BusyError, handoff.ErrNotOwner; errors.ErrUnsupported where segue cannot hand over. Process 1
// is refused, because the other process would end with it.
//
// generation is a handoff.Generation: only what embeds an [Upgrader] has the method, whose name only this package can say.
func UpgradeTo(ctx context.Context, generation interface {
	upgradeTo(context.Context, Start) error
}, start Start) error {
	return generation.upgradeTo(ctx, start)
}
