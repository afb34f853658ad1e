package handoff_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// surplus are as many descriptors as a message carries.
func surplus(t *testing.T) []syscall.Conn {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	all := make([]syscall.Conn, fdpass.MaxFDs)
	for i := range all {
		all[i] = f
	}
	return all
}

// hangsUpWith waits for the other side to hang up, and fails unless a message of type M was among its last words.
func hangsUpWith[M wire.Message](r *rawPeer) M {
	r.t.Helper()
	said := r.hangsUp()
	for _, m := range said {
		if m, ok := m.(M); ok {
			return m
		}
	}
	r.t.Fatalf("it said %v, and no %T", said, *new(M))
	panic("unreachable")
}

// TestHostileCallers: whoever calls at the rendezvous and misbehaves is turned away, nothing of his stays, and the
// incumbent serves on.
func TestHostileCallers(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.StepTimeout = 200 * time.Millisecond
	a, la := first(t, c)
	f := surplus(t)
	before := descriptors(t)
	for _, tt := range []struct {
		name string
		do   func(r *rawPeer)
		want error // of the attempt, if there was one
	}{
		{name: "garbage", do: func(r *rawPeer) {
			r.sendBytes([]byte("GET / HTTP/1.1\r\n\r\n"))
			hangsUpWith[*wire.Refuse](r)
		}},
		{name: "an empty object", do: func(r *rawPeer) {
			r.sendBytes([]byte("{}"))
			hangsUpWith[*wire.Refuse](r)
		}},
		{name: "an oversize frame", do: func(r *rawPeer) {
			r.sendBytes(bytes.Repeat([]byte(" "), wire.MaxFrame+1))
			r.hangsUp()
		}},
		{name: "surplus descriptors with HELLO", do: func(r *rawPeer) {
			b, err := wire.Encode(hello())
			if err != nil {
				t.Fatal(err)
			}
			r.sendBytes(b, f...)
			hear[*wire.Welcome](r)
		}, want: nil},
		{name: "surplus descriptors with garbage", do: func(r *rawPeer) {
			r.sendBytes([]byte("{"), f...)
			r.hangsUp()
		}},
		{name: "surplus descriptors with each message", do: func(r *rawPeer) {
			r.welcomed()
			m, raw, err := r.recv()
			if err != nil {
				t.Fatal(err)
			}
			o := m.(*wire.Offer)
			for !o.Last { // before Linux 6.5 the first is of nothing, to be answered
				raw.Close()
				r.send(&wire.Taken{Batch: o.Batch}, f...)
				if m, raw, err = r.recv(); err != nil {
					t.Fatal(err)
				}
				o = m.(*wire.Offer)
			}
			r.fds, raw.FDs = raw.FDs, nil
			raw.Close()
			r.send(&wire.Taken{Batch: o.Batch}, f...)
			r.send(&wire.Prepared{Last: true, Receipts: r.receipts()}, f...)
			hear[*wire.Commit](r)
			if !r.takeToken() {
				t.Fatal("no token")
			}
			r.send(&wire.Owned{}, f...)
			r.send(&wire.Drop{Item: 60000}, f...)
			r.putToken()
			r.send(&wire.Failed{Returned: true}, f...)
			r.hangsUp()
		}, want: handoff.ErrAborted},
		{name: "no word at all", do: func(r *rawPeer) { hangsUpWith[*wire.Refuse](r) }},
		{name: "another first word", do: func(r *rawPeer) {
			r.send(&wire.Owned{})
			hangsUpWith[*wire.Refuse](r)
		}},
		{name: "no version in common", do: func(r *rawPeer) {
			r.send(&wire.Hello{Versions: []int{7, 9}, Name: "new", PID: 1})
			if m := hangsUpWith[*wire.Refuse](r); m.Code != wire.CodeVersion || len(m.Versions) == 0 {
				t.Errorf("refused with %+v", m)
			}
		}},
		{name: "no answer to WELCOME", do: func(r *rawPeer) {
			r.welcomed()
			hangsUpWith[*wire.Abort](r)
		}, want: os.ErrDeadlineExceeded},
		{name: "TAKEN of another batch", do: func(r *rawPeer) {
			r.welcomed()
			r.send(&wire.Taken{Batch: 5})
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "PREPARED before TAKEN", do: func(r *rawPeer) {
			r.welcomed()
			r.send(&wire.Prepared{Last: true})
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "OWNED before COMMIT", do: func(r *rawPeer) {
			r.offered()
			r.takeToken() // it is not to be relied on that nobody does
			r.putToken()
			r.send(&wire.Owned{})
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "CONFIRM instead of OWNED", do: func(r *rawPeer) {
			r.committed(0)
			r.send(&wire.Confirm{})
			r.hangsUp()
		}, want: handoff.ErrProtocol},
		{name: "HELLO twice", do: func(r *rawPeer) {
			r.offered()
			r.send(hello())
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "too few receipts", do: func(r *rawPeer) {
			r.offered()
			r.prepared(r.receipts()[:1], 0)
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "too many receipts", do: func(r *rawPeer) {
			r.offered()
			r.prepared(append(r.receipts(), wire.Receipt{Item: 2, Cookie: 1}), 0)
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "a receipt for another socket", do: func(r *rawPeer) {
			r.offered()
			receipts := r.receipts()
			receipts[0].Cookie++
			r.prepared(receipts, 0)
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "receipts in another order", do: func(r *rawPeer) {
			r.offered()
			receipts := r.receipts()
			receipts[0], receipts[1] = receipts[1], receipts[0]
			r.prepared(receipts, 0)
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "batches of receipts out of order", do: func(r *rawPeer) {
			r.offered()
			r.send(&wire.Prepared{Batch: 1, Last: true, Receipts: r.receipts()})
			hangsUpWith[*wire.Abort](r)
		}, want: handoff.ErrProtocol},
		{name: "FAILED", do: func(r *rawPeer) {
			r.offered()
			r.send(&wire.Failed{Reason: "no configuration"})
			r.hangsUp()
		}, want: handoff.ErrAborted},
		{name: "hanging up", do: func(r *rawPeer) {
			r.offered()
			r.close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := dialRaw(t, path)
			r.t = t
			tt.do(r)
			r.close()
			eventually(t, "the end of the attempt", func() bool {
				s := a.Status()
				return s.Phase == handoff.PhaseServing && s.Successor == 0
			})
			if tt.want != nil {
				eventually(t, "the error of the attempt", func() bool { return errors.Is(a.Status().LastError, tt.want) })
			}
			serves(t, la)
			eventually(t, "descriptors as before", func() bool { return descriptors(t) <= before })
		})
	}
	b := join(t, config(t, path)) // after all that
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	supersede(t, a, b)
	serves(t, lb)
}

// TestSilentCrowd: connections that say nothing do not keep a legitimate successor away, however many.
func TestSilentCrowd(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	for range 300 {
		eventually(t, "room in the queue", func() bool {
			c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
			if err == nil {
				t.Cleanup(func() { _ = c.Close() })
			}
			return err == nil
		})
	}
	start := time.Now()
	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	supersede(t, a, b)
	serves(t, lb)
	if d := time.Since(start); d > config(t, path).StepTimeout {
		t.Errorf("it had to wait for the silent ones: %v", d)
	}
}

// TestUnauthorized: Config.Authorize decides on both sides, before a descriptor moves.
func TestUnauthorized(t *testing.T) {
	asked := make(chan handoff.Peer, 8)
	no := func(p handoff.Peer) error { asked <- p; return errUnwell }
	t.Run("by the incumbent", func(t *testing.T) {
		path := rendezvous(t)
		c := config(t, path)
		c.Authorize = no
		a, la := first(t, c)
		_, err := handoff.Join(bounded(t), config(t, path))
		wantErr(t, "Join", err, handoff.ErrUnauthorized)
		if p := result(t, "Authorize", asked); p != (handoff.Peer{PID: os.Getpid(), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}) {
			t.Errorf("asked about %+v", p)
		}
		serves(t, la)
		awaitPhase(t, a, handoff.PhaseServing)
		r := dialRaw(t, path)
		r.send(hello())
		if m := hangsUpWith[*wire.Refuse](r); m.Code != wire.CodeUnauthorized {
			t.Errorf("refused with %+v", m)
		}
	})
	t.Run("by the successor", func(t *testing.T) {
		path := rendezvous(t)
		a, la := first(t, config(t, path))
		c := config(t, path)
		c.Authorize = no
		_, err := handoff.Join(bounded(t), c)
		wantErr(t, "Join", err, handoff.ErrUnauthorized)
		wantErr(t, "Join", err, errUnwell)
		awaitPhase(t, a, handoff.PhaseServing)
		failedWith(t, a, handoff.ErrAborted)
		serves(t, la)
	})
}
