package handoff_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/segue-go/segue/handoff"
)

func ExampleError() {
	ctx := context.Background()
	gen, err := handoff.Join(ctx, handoff.Config{})
	if err != nil {
		return
	}
	_ = gen.Close()
	_, err = gen.Listen(ctx, "tcp", "127.0.0.1:0")
	var e *handoff.Error
	if errors.As(err, &e) {
		fmt.Println(e.Op, e.Phase)
	}
	fmt.Println(errors.Is(err, net.ErrClosed))
	// Output:
	// listen stopped
	// true
}

func ExampleError_Error() {
	err := &handoff.Error{Op: "upgrade", Phase: handoff.PhaseServing, Err: handoff.ErrPeerDied}
	fmt.Println(err)
	// Output: handoff: upgrade (serving): the other process died
}

func ExampleError_Unwrap() {
	err := &handoff.Error{Op: "upgrade", Phase: handoff.PhaseServing, Err: handoff.ErrPeerDied}
	fmt.Println(errors.Is(err, handoff.ErrPeerDied))
	// Output: true
}

func ExampleBusyError_Error() {
	fmt.Println(&handoff.BusyError{PID: 4713, Name: "server", Phase: handoff.PhaseOffering})
	// Output: another handoff is under way: process 4713 (server), incumbent offering; wait for it to end, then try again
}

func ExampleBusyError_Is() {
	var err error = &handoff.BusyError{PID: 4713}
	fmt.Println(errors.Is(err, handoff.ErrBusy))
	// Output: true
}

func ExampleChildError_Error() {
	fmt.Println(&handoff.ChildError{Output: "no such table: users", Err: handoff.ErrPeerDied})
	// Output:
	// the other process died; its last output:
	// no such table: users
}

func ExampleChildError_Unwrap() {
	err := &handoff.ChildError{Err: handoff.ErrPeerDied}
	fmt.Println(errors.Is(err, handoff.ErrPeerDied))
	// Output: true
}

func ExampleTransport_String() {
	fmt.Println(handoff.TransportAuto, handoff.TransportSCMRights, handoff.TransportPidfd)
	// Output: auto scm_rights pidfd
}
