package handoff

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/segue-go/segue/handoff/internal/driver"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/succession"
)

// TestExit: a program can find out how a successor ended, and the text says the same.
func TestExit(t *testing.T) {
	for _, tt := range []struct {
		ended bool
		exit  *peer.Exit
		want  Exit
		text  string
	}{
		{false, nil, Exit{}, "why"},
		{true, nil, Exit{}, "why; successor pid 7 ended: how is known to its parent only (Config.Siblings; Linux 6.15 and later tell others)"},
		{true, &peer.Exit{Code: 3}, Exit{Known: true, Code: 3}, "why; successor pid 7 ended: exit status 3"},
		{true, &peer.Exit{}, Exit{Known: true}, "why; successor pid 7 ended: exit status 0"},
		{true, &peer.Exit{Signal: syscall.SIGKILL}, Exit{Known: true, Signal: syscall.SIGKILL}, "why; successor pid 7 ended: signal: killed"},
	} {
		var child *ChildError
		inner := &driver.ChildError{PID: 7, Ended: tt.ended, Exit: tt.exit, Err: errors.New("why")}
		if !errors.As(public(inner), &child) || child.Ended != tt.ended || child.Exit != tt.want || child.Error() != tt.text || inner.Error() != tt.text {
			t.Errorf("%+v: %+v: %v", tt, child, child)
		}
	}
	if got := (Exit{}).String(); got != "unknown" {
		t.Errorf("unknown is %q", got)
	}
}

// TestErrorsArePublic: what the driver returns comes out with the types of this package, whatever a callback of the program has
// returned inside.
func TestErrorsArePublic(t *testing.T) {
	g := &Generation{driver: new(driver.Driver)}
	for name, inner := range map[string]error{
		"plain":    net.ErrClosed,
		"callback": fmt.Errorf("save: %w", &Error{Op: "give", Phase: PhaseServing, Err: ErrNoSuccessor}),
	} {
		t.Run(name, func(t *testing.T) {
			var outer *Error
			var child *ChildError
			err := g.errorf("upgrade", &driver.Failure{Phase: succession.PhaseOffering, Err: &driver.ChildError{PID: 7, Err: inner}})
			if !errors.As(err, &outer) || outer.Op != "upgrade" || outer.Phase != PhaseOffering || !errors.As(err, &child) || child.PID != 7 {
				t.Errorf("got %T: %v", err, err)
			}
			var busy *BusyError
			err = g.errorf("upgrade", &driver.Failure{Phase: succession.PhaseServing, Err: &driver.BusyError{PID: 8}})
			if !errors.As(err, &busy) || busy.PID != 8 {
				t.Errorf("got %T: %v", err, err)
			}
			if err := g.errorf("upgrade", &driver.Failure{Err: inner}); !errors.Is(err, errors.Unwrap(inner)) && !errors.Is(err, inner) {
				t.Errorf("lost what the callback returned: %v", err)
			}
			if same := (&Error{Op: "listen", Err: inner}); g.errorf("upgrade", same) != error(same) {
				t.Error("it was wrapped twice")
			}
		})
	}
}
