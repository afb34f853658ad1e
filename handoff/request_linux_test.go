package handoff_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// A signal that comes when a successor serves already is passed on to it, if it knows how; otherwise the operator is told.
func TestRequestTooLate(t *testing.T) {
	for name, features := range map[string][]string{"passed on": {"upgrade"}, "not known": nil} {
		t.Run(name, func(t *testing.T) {
			path := rendezvous(t)
			c := longGuard(t, path)
			c.Signals = []os.Signal{unix.SIGUSR2}
			log := logs(t, &c)
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

// A request that was passed on to a successor that then hands the sockets back is this generation's again.
func TestRequestComesBack(t *testing.T) {
	path := rendezvous(t)
	c := longGuard(t, path)
	c.Signals = []os.Signal{unix.SIGUSR2}
	c.Command = func() *exec.Cmd { return exec.Command("false") }
	log := logs(t, &c)
	back := make(chan struct{})
	c.Trace = &handoff.Trace{Sent: func(m timeline.Message) {
		if m.Type == "upgrade" { // the successor is quicker than the goroutine that has said it
			<-back
		}
	}}
	a, _ := first(t, c)
	r := dialRaw(t, path)
	r.features = []string{"upgrade"}
	r.owned(0)
	r.send(&wire.Confirm{})
	superseded(t, a)
	if err := unix.Kill(os.Getpid(), unix.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	hear[*wire.Upgrade](r)
	r.putToken()
	r.send(&wire.Failed{Returned: true})
	r.hangsUp()
	log.says(t, "serves again")
	close(back)
	log.says(t, "upgrade failed") // it was begun
}

// asking is a Handler that asks the generation that logs.
type asking struct {
	slog.Handler
	g *atomic.Pointer[handoff.Generation]
}

func (h asking) Handle(ctx context.Context, r slog.Record) error {
	if g := h.g.Load(); g != nil {
		r.Add("phase", g.Status().Phase)
	}
	return h.Handler.Handle(ctx, r)
}

func (h asking) WithAttrs(a []slog.Attr) slog.Handler { return asking{h.Handler.WithAttrs(a), h.g} }

// A Logger may ask the generation, at any level.
func TestLoggerAsks(t *testing.T) {
	c := config(t, rendezvous(t))
	var g atomic.Pointer[handoff.Generation]
	c.Logger = slog.New(asking{slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}), &g})
	a := join(t, c)
	g.Store(a)
	within(t, "Ready", func() { ready(t, a) })
}
