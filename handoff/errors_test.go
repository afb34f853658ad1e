package handoff

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/segue-go/segue/handoff/internal/driver"
	"github.com/segue-go/segue/handoff/internal/succession"
)

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
