package tableflip

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"

	"github.com/segue-go/segue/handoff"
)

// RollbackOptions are those of [Rollback]. The zero value is ready for use.
type RollbackOptions struct {
	// Command changes the command that starts the old program, such as its Path and Args, before it is started. Nil: it is what
	// Generation.Upgrade would start, so this program's file, which is the old one again by then, as this process was started,
	// or Config.Command. Descriptors from 3 on are tableflip's, so ExtraFiles must be empty. Standard input, output and error that are
	// nil are this process's. Pdeathsig has no effect.
	Command func(*exec.Cmd)

	// Conns are connections that the old program gets by tableflip's Conn. They are copied, and stay the caller's, who closes
	// them when Rollback has returned nil, without a word on them.
	Conns []Conn
}

// Conn is a connection, and the words by which a program asks tableflip for it.
type Conn struct {
	Network, Address string
	Conn             syscall.Conn // a *net.TCPConn, *net.UnixConn or *net.UDPConn
}

// Rollback replaces this process by one that runs on tableflip: it starts that as tableflip would, waits until it is ready, and then has gen
// let go for good: Wait, and serve.Run, drain and return nil, and the program ends, as the new process expects before it upgrades
// itself. Until gen lets go it serves on, so for a moment both accept. Listeners, packet sockets and files go to it, under the network, address and name
// under which gen's program asked for them. Paths of Unix sockets stay. The PID file is the new process's, if it writes one.
//
// If that process does not become ready within ReadyTimeout, or before ctx ends, it is killed, and gen serves on; the error is a
// [handoff.ChildError] with how it ended. If the file is still a program on segue, which calls [Inherit], the error says so: put the
// old file back. Other errors: [handoff.BusyError], [handoff.ErrNotOwner],
// [errors.ErrUnsupported] where segue cannot hand over; that several of gen's sockets have one network and address, of which
// tableflip knows only one; and that this process is process 1, with which the new one would end. Of what has no meaning for tableflip, such as sections of state, nothing moves.
func Rollback(ctx context.Context, gen *handoff.Generation, o RollbackOptions) error {
	if err := rollback(ctx, gen, o); err != nil {
		return fmt.Errorf("tableflip: roll back: %w", err)
	}
	return nil
}
