package handoff_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// A signal that comes when a successor serves already is passed on to it, if it knows how; otherwise the operator is told.
func TestRequestTooLate(t *testing.T) {
	for name, features := range map[string][]string{"passed on": {"upgrade"}, "not known": nil} {
		t.Run(name, func(t *testing.T) {
			path := rendezvous(t)
			c := longGuard(t, path)
			c.Signals = []os.Signal{unix.SIGUSR2}
			log := logs(&c)
			a, _ := first(t, c)
			r := dialRaw(t, path)
			r.features = features
			r.owned(0)
			r.send(&wire.Confirm{})
			superseded(t, a)
			if err := unix.Kill(os.Getpid(), unix.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			if features != nil {
				hear[*wire.Upgrade](r)
			} else {
				log.says(t, "the successor cannot be told")
			}
		})
	}
}
