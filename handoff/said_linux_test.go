package handoff_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// says fails unless err is want and has the text, without what must not be in it.
func says(t *testing.T, err, want error, text, not string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) || not != "" && strings.Contains(err.Error(), not) {
		t.Errorf("%v\n\twant %v, with %q, without %q", err, want, text, not)
	}
}

// TestSaysWhatCame: an error about what did not come says what had come. Who writes another implementation looks for the
// fault by that.
func TestSaysWhatCame(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.StepTimeout, c.ReadyTimeout = 200*time.Millisecond, 250*time.Millisecond
	a, _ := first(t, c)
	for _, tt := range []struct {
		name      string
		do        func(r *rawPeer)
		text, not string
	}{
		{"nothing", func(r *rawPeer) { r.offered() }, "did not become ready: no answer within 250ms", "PREPARED"},
		{"PREPARED without last", func(r *rawPeer) {
			r.offered()
			r.send(&wire.Prepared{Receipts: r.receipts()})
		}, `PREPARED 0 came without "last", and no other within 250ms`, "become ready"},
		{"DROP instead of OWNED", func(r *rawPeer) {
			r.committed(0)
			r.send(&wire.Drop{Item: 0})
		}, "no answer within 200ms", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := dialRaw(t, path)
			tt.do(r)
			r.hangsUp()
			eventually(t, "the end of the attempt", func() bool {
				s := a.Status()
				return s.Phase == handoff.PhaseServing && s.Successor == 0 && s.LastError != nil
			})
			says(t, a.Status().LastError, os.ErrDeadlineExceeded, tt.text, tt.not)
		})
	}
	for frame, text := range map[string]string{
		`{"type":"hello","versions":[1],"name":4711,"pid":1}`: "its first word: protocol violation: wire: decode hello: malformed frame: " +
			"member name must be a string, and is 4711",
		"SSH-2.0": "its first word: protocol violation",
	} {
		t.Run("HELLO", func(t *testing.T) {
			r := dialRaw(t, path)
			r.sendBytes([]byte(frame))
			if m := hangsUpWith[*wire.Refuse](r); m.Code != wire.CodeMalformed || !strings.Contains(m.Reason, text) || strings.Contains(m.Reason, "before") {
				t.Errorf("refused with %+v, want %q", m, text)
			}
		})
	}
}

// TestSaysWhatWasOffered is the same for the successor.
func TestSaysWhatWasOffered(t *testing.T) {
	item := wire.Item{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"}
	l := tcpListener(t)
	for _, tt := range []struct {
		name string
		do   func(r *rawPeer)
		want error
		text string
	}{
		{"OFFER without last", func(r *rawPeer) {
			r.welcome(1)
			r.send(&wire.Offer{Items: []wire.Item{item}}, l)
		}, os.ErrDeadlineExceeded, `OFFER 0 came without "last", and no other: no answer within 200ms`},
		{"a listener without network", func(r *rawPeer) {
			r.welcome(1)
			r.sendBytes([]byte(`{"type":"offer","batch":0,"last":true,"items":[{"name":"tcp/:80","kind":"listener","address":":80"}]}`), l)
		}, handoff.ErrProtocol, "item 0: malformed frame: a listener without network"},
		{"one who never hands over", func(r *rawPeer) {
			r.send(&wire.Refuse{Code: wire.CodeUnsupported, Reason: "end me first"})
		}, errors.ErrUnsupported, "never hands over to this process (unsupported operation): end me first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			server := rawListener(t, path)
			c := config(t, path)
			c.StepTimeout = 200 * time.Millisecond
			joined := make(chan error, 1)
			go func() {
				_, err := handoff.Join(context.Background(), c)
				joined <- err
			}()
			r := acceptRaw(t, server)
			hear[*wire.Hello](r)
			tt.do(r)
			says(t, result(t, "Join", joined), tt.want, tt.text, "")
		})
	}
}

// TestSaysWhatWasSaved is the same for state.
func TestSaysWhatWasSaved(t *testing.T) {
	path := rendezvous(t)
	server := rawListener(t, path)
	c := config(t, path)
	c.StepTimeout = 100 * time.Millisecond
	joined := make(chan *handoff.Generation, 1)
	go func() {
		g, err := handoff.Join(context.Background(), c)
		if err != nil {
			t.Error(err)
		}
		joined <- g
	}()
	r := acceptRaw(t, server)
	hear[*wire.Hello](r)
	r.features = []string{"state"}
	r.token = newEventfd(t, 1)
	r.send(&wire.Welcome{Version: wire.Version, Generation: 2, Name: "raw", PID: os.Getpid(), Features: r.features, StateWithin: 50}, r.token)
	r.offer(nil)
	g := result(t, "Join", joined)
	if g == nil {
		return
	}
	defer shut(t, g)
	state(t, g, "cell", newCell("").both())
	ready := make(chan error, 1)
	go func() { ready <- g.Ready(context.Background()) }()
	hear[*wire.Prepared](r)
	r.send(&wire.State{Name: "cell", Size: 1}, newMemfd(t, "1", allSeals))
	says(t, result(t, "Ready", ready), os.ErrDeadlineExceeded, "STATE came, and SAVED did not: no answer within 400ms", "")
}
