package handoff_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// TestRetireOverTheLink has an incumbent that drains be retired: one that knows RETIRE hears it, until it ends; one of an older
// release hears nothing that it does not know, and who asks is told what to do.
func TestRetireOverTheLink(t *testing.T) {
	for name, features := range map[string][]string{"known": {"retire"}, "older": nil} {
		t.Run(name, func(t *testing.T) {
			path := rendezvous(t)
			r, _, _ := beforeRaw(t, longGuard(t, path), 0, features...)
			eventually(t, "the control socket", func() bool { _, err := os.Stat(path + ".control"); return err == nil })
			type retired struct {
				n   int
				err error
			}
			done := make(chan retired, 1)
			go func() {
				n, err := (&control.Client{Path: path}).Retire(bounded(t), 0)
				done <- retired{n, err}
			}()
			if features == nil {
				got := result(t, "Retire", done)
				if !errors.Is(got.err, control.ErrUnknownRequest) || !strings.Contains(got.err.Error(), "kill -TERM") {
					t.Errorf("Retire: %d, %v", got.n, got.err)
				}
				return
			}
			if m := hear[*wire.Retire](r); m.Generation != 1 {
				t.Errorf("RETIRE of generation %d", m.Generation)
			}
			r.send(&wire.Bye{})
			r.close()
			if got := result(t, "Retire", done); got.n != 1 || got.err != nil {
				t.Errorf("Retire: %d, %v", got.n, got.err)
			}
		})
	}
}
