package handoff_test

import (
	"errors"
	"testing"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// OWNED of a successor that has not read the token means nothing: the incumbent owns, and serves on.
func TestOwnedUnread(t *testing.T) {
	path := rendezvous(t)
	a, la := first(t, config(t, path))
	r := dialRaw(t, path)
	r.committed(0)
	r.send(&wire.Owned{})
	hear[*wire.Abort](r)
	if r.takeToken() {
		t.Fatal("two own")
	}
	r.close()
	awaitPhase(t, a, handoff.PhaseServing)
	failedWith(t, a, handoff.ErrProtocol)
	serves(t, la)
}

// A successor that owned for an instant has put the token back when OWNED is read: that is a hand-back.
func TestOwnedAndPutBack(t *testing.T) {
	path := rendezvous(t)
	a, la := first(t, config(t, path))
	r := dialRaw(t, path)
	r.committed(0)
	if !r.takeToken() {
		t.Fatal("no token")
	}
	r.putToken() // before OWNED, so that the incumbent finds it for certain
	r.send(&wire.Owned{})
	r.send(&wire.Failed{Reason: "no more", Returned: true})
	r.hangsUp()
	awaitPhase(t, a, handoff.PhaseServing)
	failedWith(t, a, handoff.ErrAborted)
	if err := a.Status().LastError; errors.Is(err, handoff.ErrProtocol) {
		t.Errorf("it ended as a violation: %v", err)
	}
	serves(t, la)
}

// COMMIT is no permission before the successor has proved what it holds, also if it waits in the queue when Ready is called.
func TestCommitTooEarly(t *testing.T) {
	for name, wait := range map[string]bool{"seen before Ready": true, "queued": false} {
		t.Run(name, func(t *testing.T) {
			path := rendezvous(t)
			server := rawListener(t, path)
			asked := make(chan struct{})
			c := config(t, path)
			c.Trace = &handoff.Trace{Phase: func(change timeline.PhaseChange) {
				if wait && change.To == handoff.PhaseStopped { // who sees it asks why at once
					<-asked
				}
			}}
			joined := make(chan *handoff.Generation, 1)
			go func() {
				g, err := handoff.Join(bounded(t), c)
				if err != nil {
					t.Error(err)
				}
				joined <- g
			}()
			r := acceptRaw(t, server)
			hear[*wire.Hello](r)
			r.welcome(1)
			l := tcpListener(t)
			r.send(&wire.Offer{Last: true, Items: []wire.Item{{Name: "a", Kind: wire.KindListener, Network: "tcp", Address: ":0"}}}, l)
			r.send(&wire.Commit{})
			hear[*wire.Taken](r)
			g := result(t, "Join", joined)
			if g == nil {
				return
			}
			defer shut(t, g)
			if wait {
				awaitPhase(t, g, handoff.PhaseStopped)
			}
			err := g.Ready(bounded(t))
			close(asked)
			wantErr(t, "Ready", err, handoff.ErrProtocol)
			if !r.takeToken() {
				t.Error("the token was read")
			}
		})
	}
}
