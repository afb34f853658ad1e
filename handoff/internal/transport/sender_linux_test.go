package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// ends are two of one connection.
func ends(t *testing.T) (ours, theirs *net.UnixConn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, err = sys.UnixConn(listener.NewFD(pair[0]))
	theirs, err2 := sys.UnixConn(listener.NewFD(pair[1]))
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

// TestOwesAtOnce: a successor owes an answer from the moment at which it has the OFFER, so that whoever comes then waits for its
// place; and its patience does not run out while the OFFER is still being sent.
func TestOwesAtOnce(t *testing.T) {
	ours, theirs := ends(t)
	var owes []time.Time
	sent := false
	l := link.New(ours, link.Options{Other: "successor", Step: time.Minute, Sent: func(wire.Message, int) {
		sent = true
		if len(owes) == 0 || owes[0].Before(time.Now()) {
			t.Errorf("the OFFER is sent, and it owed an answer since %v", owes)
		}
	}})
	defer l.Close()
	s := &Sender{Link: l, Log: slog.New(slog.DiscardHandler), Owe: func(since time.Time) { owes = append(owes, since) }}
	b, err := wire.Encode(&wire.Taken{Batch: 7})
	if err == nil {
		_, err = theirs.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.offer(context.Background(), &wire.Offer{Batch: 7, Last: true}); err != nil {
		t.Fatal(err)
	}
	if len(owes) != 3 || !sent || owes[1].After(time.Now()) || !owes[2].IsZero() {
		t.Errorf("it was said that it owes since %v; sent: %v", owes, sent)
	}
}
