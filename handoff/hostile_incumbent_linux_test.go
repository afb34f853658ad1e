package handoff_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// TestHostileIncumbent: a rendezvous that is not what it seems makes Join fail with an error that says so, and leaves
// nothing behind.
func TestHostileIncumbent(t *testing.T) {
	item := func(name string) wire.Item {
		return wire.Item{Name: name, Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"}
	}
	devNull, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer devNull.Close()
	l := tcpListener(t)
	f := surplus(t)
	for _, tt := range []struct {
		name string
		do   func(r *rawPeer)
		want error
	}{
		{"garbage", func(r *rawPeer) { r.sendBytes([]byte("SSH-2.0")) }, handoff.ErrProtocol},
		{"garbage with descriptors", func(r *rawPeer) { r.sendBytes([]byte("SSH-2.0"), f...) }, handoff.ErrProtocol},
		{"an oversize frame", func(r *rawPeer) { r.sendBytes(bytes.Repeat([]byte(" "), wire.MaxFrame+1), f...) }, nil},
		{"no token", func(r *rawPeer) {
			r.send(&wire.Welcome{Version: wire.Version, Generation: 2, Name: "raw", PID: 1})
		}, handoff.ErrProtocol},
		{"a token to take that is not agreed on", func(r *rawPeer) {
			r.token = newEventfd(r.t, 1)
			r.send(&wire.Welcome{Version: wire.Version, Generation: 2, Name: "raw", PID: 1, Descriptor: 9})
		}, handoff.ErrProtocol},
		{"a token to take that is not there", func(r *rawPeer) {
			r.send(&wire.Welcome{Version: wire.Version, Generation: 2, Name: "raw", PID: 1, Descriptor: 1 << 30, Features: []string{"pull", "pull-token"}})
		}, nil},
		{"two tokens", func(r *rawPeer) {
			r.token = newEventfd(r.t, 1)
			r.send(&wire.Welcome{Version: wire.Version, Generation: 2, Name: "raw", PID: 1}, r.token, r.token)
		}, handoff.ErrProtocol},
		{"a token that is no eventfd", func(r *rawPeer) {
			r.send(&wire.Welcome{Version: wire.Version, Generation: 2, Name: "raw", PID: 1}, devNull)
		}, handoff.ErrProtocol},
		{"another version", func(r *rawPeer) {
			r.token = newEventfd(r.t, 1)
			r.send(&wire.Welcome{Version: 99, Generation: 2, Name: "raw", PID: 1}, r.token)
		}, handoff.ErrVersion},
		{"OFFER without WELCOME", func(r *rawPeer) {
			r.send(&wire.Offer{Last: true, Items: []wire.Item{item("a")}}, l)
		}, handoff.ErrProtocol},
		{"COMMIT without OFFER", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Commit{})
		}, handoff.ErrProtocol},
		{"fewer descriptors than items", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Offer{Last: true, Items: []wire.Item{item("a"), item("b")}}, l)
		}, handoff.ErrProtocol},
		{"more descriptors than items", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Offer{Last: true, Items: []wire.Item{item("a")}}, f...)
		}, handoff.ErrProtocol},
		{"no items but descriptors", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Offer{Last: true}, f...)
		}, handoff.ErrProtocol},
		{"a batch left out", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Offer{Batch: 1, Last: true, Items: []wire.Item{item("a")}}, l)
		}, handoff.ErrProtocol},
		{"a kind that does not exist", func(r *rawPeer) {
			r.welcome(1)
			b, err := wire.Encode(&wire.Offer{Last: true, Items: []wire.Item{item("a")}})
			if err != nil {
				t.Fatal(err)
			}
			r.sendBytes(bytes.Replace(b, []byte(`"listener"`), []byte(`"pidfd"`), 1), l)
		}, handoff.ErrProtocol},
		{"a rendezvous that is none", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Offer{Last: true, Items: []wire.Item{{Name: "r", Kind: wire.KindRendezvous}}}, devNull)
		}, handoff.ErrProtocol},
		{"a rendezvous of another network", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Offer{Last: true, Items: []wire.Item{{Name: "r", Kind: wire.KindRendezvous}}}, l)
		}, handoff.ErrProtocol},
		{"two rendezvous", func(r *rawPeer) {
			r.welcome(1)
			i := wire.Item{Name: "r", Kind: wire.KindRendezvous}
			r.send(&wire.Offer{Last: true, Items: []wire.Item{i, i}}, l, l)
		}, handoff.ErrProtocol},
		{"two standard outputs", func(r *rawPeer) {
			r.welcome(1)
			i := wire.Item{Name: "stdout", Kind: wire.KindStdout}
			r.send(&wire.Offer{Items: []wire.Item{i, i}}, devNull, devNull)
			r.next()
			r.send(&wire.Abort{Reason: "enough"})
		}, nil},
		{"BUSY", func(r *rawPeer) {
			r.send(&wire.Busy{PID: 4711, Name: "other", Phase: "offering"}, f...)
		}, handoff.ErrBusy},
		{"REFUSE", func(r *rawPeer) { r.send(&wire.Refuse{Code: "closed on Sundays", Reason: "?"}) }, handoff.ErrAborted},
		{"REFUSE for the version", func(r *rawPeer) { r.send(&wire.Refuse{Code: wire.CodeVersion, Versions: []int{7}}) }, handoff.ErrVersion},
		{"ABORT", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Abort{Reason: "no"})
		}, handoff.ErrAborted},
		{"silence", func(*rawPeer) {}, os.ErrDeadlineExceeded},
		{"silence after WELCOME", func(r *rawPeer) { r.welcome(1) }, os.ErrDeadlineExceeded},
		{"hanging up after WELCOME", func(r *rawPeer) {
			r.welcome(1)
			r.close()
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			server := rawListener(t, path)
			before := descriptors(t)
			c := config(t, path)
			c.StepTimeout = 200 * time.Millisecond
			c.ReadyTimeout = 200 * time.Millisecond
			joined := make(chan error, 1)
			ctx := bounded(t)
			go func() {
				_, err := handoff.Join(ctx, c)
				joined <- err
			}()
			r := acceptRaw(t, server)
			hear[*wire.Hello](r)
			tt.do(r)
			err := result(t, "Join", joined)
			var typed *handoff.Error
			if !errors.As(err, &typed) || typed.Op != "join" {
				t.Errorf("Join: %v, which is no *handoff.Error of join", err)
			}
			if tt.want != nil {
				wantErr(t, "Join", err, tt.want)
			}
			r.close()
			eventually(t, "descriptors as before", func() bool { return descriptors(t) <= before })
		})
	}
}

// TestBadOffer: what is offered under a name may be something else. Listen says so.
func TestBadOffer(t *testing.T) {
	path := rendezvous(t)
	server := rawListener(t, path)
	joined := make(chan *handoff.Generation, 1)
	ctx := bounded(t)
	c := config(t, path)
	go func() {
		g, err := handoff.Join(ctx, c)
		if err != nil {
			t.Errorf("Join: %v", err)
		}
		joined <- g
	}()
	r := acceptRaw(t, server)
	hear[*wire.Hello](r)
	r.welcome(1)
	devNull, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer devNull.Close()
	r.offer([]wire.Item{
		{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"},
		{Name: "udp/127.0.0.1:0", Kind: wire.KindPacket, Network: "udp", Address: "127.0.0.1:0"},
	}, devNull, tcpListener(t))
	g := result(t, "Join", joined)
	if g == nil {
		return
	}
	defer shut(t, g)
	if l, err := g.Listen(ctx, "tcp", "127.0.0.1:0"); err == nil {
		t.Errorf("Listen made %v of a file", l.Addr())
	}
	if p, err := g.ListenPacket(ctx, "udp", "127.0.0.1:0"); err == nil {
		t.Errorf("ListenPacket made %v of a tcp listener", p.LocalAddr())
	}
}

// TestIncumbentFailsLater: what an incumbent does after its offer ends in an error of Ready, and nothing is owned.
func TestIncumbentFailsLater(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token uint
		do    func(r *rawPeer)
		want  error
	}{
		{"ABORT", 1, func(r *rawPeer) { r.send(&wire.Abort{Reason: "no"}) }, handoff.ErrAborted},
		{"the token is gone", 0, func(r *rawPeer) { r.send(&wire.Commit{}) }, handoff.ErrNotOwner},
		{"another message", 1, func(r *rawPeer) { r.send(&wire.Owned{}) }, handoff.ErrProtocol},
		{"garbage", 1, func(r *rawPeer) { r.sendBytes([]byte("?")) }, handoff.ErrProtocol},
		{"silence", 1, func(*rawPeer) {}, os.ErrDeadlineExceeded},
		// It hung up and is alive: a timeout, not a death. Nobody else may take the token for granted.
		{"hanging up", 1, func(r *rawPeer) { r.close() }, nil},
	} {
		for _, when := range []string{"before Ready", "after PREPARED"} {
			if when == "before Ready" && (tt.name == "silence" || tt.name == "the token is gone") {
				continue
			}
			t.Run(tt.name+" "+when, func(t *testing.T) {
				path := rendezvous(t)
				server := rawListener(t, path)
				c := config(t, path)
				c.StepTimeout = 100 * time.Millisecond
				joined := make(chan *handoff.Generation, 1)
				ctx := bounded(t)
				go func() {
					g, err := handoff.Join(ctx, c)
					if err != nil {
						t.Errorf("Join: %v", err)
					}
					joined <- g
				}()
				r := acceptRaw(t, server)
				hear[*wire.Hello](r)
				r.welcome(tt.token)
				r.offer([]wire.Item{{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"}}, tcpListener(t))
				g := result(t, "Join", joined)
				if g == nil {
					return
				}
				defer shut(t, g)
				l := listen(t, g, "tcp", "127.0.0.1:0")
				inG := accepting(t, l)
				readied := make(chan error, 1)
				if when == "before Ready" {
					tt.do(r)
					awaitPhase(t, g, handoff.PhaseStopped)
				}
				go func() { readied <- g.Ready(context.Background()) }()
				if when != "before Ready" {
					hear[*wire.Prepared](r)
					tt.do(r)
				}
				err := result(t, "Ready", readied)
				if err == nil {
					t.Fatal("Ready: nil")
				}
				if tt.want != nil && when != "before Ready" {
					wantErr(t, "Ready", err, tt.want)
				}
				if err := result(t, "Accept", inG); err == nil {
					t.Error("it accepted although it never owned")
				}
				if g.Status().Phase != handoff.PhaseStopped {
					t.Errorf("it is %s", g.Status().Phase)
				}
			})
		}
	}
}
