package handoff_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// rawPeer speaks the protocol by hand, on either side.
type rawPeer struct {
	t     *testing.T
	conn  *net.UnixConn
	token *listener.FD
	items []wire.Item
	fds   []*listener.FD // parallel to items

	features []string           // that it takes part in
	voice    func(wire.Message) // says HELLO, if another process is to be the peer
	path     string             // of the rendezvous, if a test needs it
}

func newRaw(t *testing.T, c *net.UnixConn) *rawPeer {
	t.Helper()
	if err := fdpass.PassCred(c, true); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
		t.Fatal(err)
	}
	r := &rawPeer{t: t, conn: c}
	t.Cleanup(r.close)
	return r
}

// dialRaw calls at the rendezvous.
func dialRaw(t *testing.T, path string) *rawPeer {
	t.Helper()
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	return newRaw(t, c)
}

// close hangs up and closes all that was received.
func (r *rawPeer) close() {
	_ = r.conn.Close()
	_ = r.token.Close()
	for _, fd := range r.fds {
		_ = fd.Close()
	}
}

func (r *rawPeer) send(m wire.Message, fds ...syscall.Conn) {
	r.t.Helper()
	b, err := wire.Encode(m)
	if err != nil {
		r.t.Fatal(err)
	}
	r.sendBytes(b, fds...)
}

func (r *rawPeer) sendBytes(b []byte, fds ...syscall.Conn) {
	r.t.Helper()
	_ = r.conn.SetWriteDeadline(time.Now().Add(patience))
	if err := fdpass.Send(r.conn, b, fds...); err != nil {
		r.t.Fatalf("send %.40q: %v", b, err)
	}
}

// recv returns the next message; the descriptors are the caller's.
func (r *rawPeer) recv() (wire.Message, *fdpass.Message, error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	raw, err := fdpass.Recv(r.conn, make([]byte, wire.MaxFrame))
	if err != nil {
		return nil, nil, err
	}
	m, err := wire.Decode(raw.Payload)
	if err != nil {
		raw.Close()
		return nil, nil, err
	}
	return m, raw, nil
}

// hear waits for a message of type M.
func hear[M wire.Message](r *rawPeer) M {
	r.t.Helper()
	m, raw, err := r.recv()
	if err != nil {
		r.t.Fatalf("waiting for %T: %v", *new(M), err)
	}
	defer raw.Close()
	want, ok := m.(M)
	if !ok {
		r.t.Fatalf("got %T %+v, want a %T", m, m, want)
	}
	return want
}

// hangsUp waits for the other side to hang up, and returns what it said before.
func (r *rawPeer) hangsUp() []wire.Message {
	r.t.Helper()
	var said []wire.Message
	for {
		m, raw, err := r.recv()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.t.Fatalf("it does not hang up after %v", said)
		}
		if errors.Is(err, syscall.ECONNRESET) {
			continue
		}
		if err != nil {
			return said
		}
		raw.Close()
		said = append(said, m)
	}
}

func hello() *wire.Hello {
	return &wire.Hello{Versions: wire.Versions(), Name: "raw", PID: os.Getpid()}
}

// welcomed says HELLO and keeps the token of WELCOME.
func (r *rawPeer) welcomed() *wire.Welcome {
	r.t.Helper()
	h := hello()
	h.Features = r.features
	if r.voice != nil {
		r.voice(h)
	} else {
		r.send(h)
	}
	m, raw, err := r.recv()
	if err != nil {
		r.t.Fatalf("waiting for WELCOME: %v", err)
	}
	defer raw.Close()
	w, ok := m.(*wire.Welcome)
	if !ok || len(raw.FDs) != 1 {
		r.t.Fatalf("got %+v with %d descriptors, want WELCOME with one", m, len(raw.FDs))
	}
	r.token, raw.FDs[0] = raw.FDs[0], nil
	return w
}

// takeAll takes all offers.
func (r *rawPeer) takeAll() {
	r.t.Helper()
	for {
		m, raw, err := r.recv()
		if err != nil {
			r.t.Fatalf("waiting for OFFER: %v", err)
		}
		o, ok := m.(*wire.Offer)
		if !ok || len(raw.FDs) != len(o.Items) {
			r.t.Fatalf("got %+v with %d descriptors", m, len(raw.FDs))
		}
		r.items, r.fds = append(r.items, o.Items...), append(r.fds, raw.FDs...)
		raw.FDs = nil // taken
		raw.Close()
		raw.FDs = nil
		raw.Close()
		r.send(&wire.Taken{Batch: o.Batch})
		if o.Last {
			return
		}
	}
}

// receipts are the true ones, with everything claimed.
func (r *rawPeer) receipts() []wire.Receipt {
	r.t.Helper()
	all := make([]wire.Receipt, len(r.fds))
	for i, fd := range r.fds {
		info, err := listener.Describe(fd)
		if err != nil {
			r.t.Fatal(err)
		}
		all[i] = wire.Receipt{
			Item: i, Claimed: true, Cookie: info.Cookie, Dev: info.Dev, Ino: info.Ino, Flags: info.Flags & unix.O_ACCMODE,
		}
	}
	return all
}

func (r *rawPeer) prepared(receipts []wire.Receipt, confirmWithin time.Duration) {
	r.t.Helper()
	frames, err := wire.Receipts(receipts, confirmWithin.Milliseconds())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range frames {
		r.send(f)
	}
}

// offered goes as far as to hold everything that was offered.
func (r *rawPeer) offered() {
	r.t.Helper()
	r.welcomed()
	r.takeAll()
}

// committed goes as far as COMMIT.
func (r *rawPeer) committed(confirmWithin time.Duration) {
	r.t.Helper()
	r.offered()
	r.prepared(r.receipts(), confirmWithin)
	hear[*wire.Commit](r)
}

// takeToken reports whether it took ownership.
func (r *rawPeer) takeToken() bool {
	r.t.Helper()
	var b [8]byte
	var n int
	var err error
	if cErr := r.token.Control(func(fd uintptr) { n, err = unix.Read(int(fd), b[:]) }); cErr != nil {
		r.t.Fatal(cErr)
	}
	if err != nil && err != unix.EAGAIN {
		r.t.Fatal(err)
	}
	return err == nil && n == 8
}

// putToken gives ownership up.
func (r *rawPeer) putToken() {
	r.t.Helper()
	one := [8]byte{1}
	var err error
	if cErr := r.token.Control(func(fd uintptr) { _, err = unix.Write(int(fd), one[:]) }); cErr != nil || err != nil {
		r.t.Fatal(cErr, err)
	}
}

// owned goes as far as OWNED.
func (r *rawPeer) owned(confirmWithin time.Duration) {
	r.t.Helper()
	r.committed(confirmWithin)
	if !r.takeToken() {
		r.t.Fatal("the token is gone")
	}
	r.send(&wire.Owned{})
}

// fd returns the descriptor that was offered under name.
func (r *rawPeer) fd(name string) *listener.FD {
	r.t.Helper()
	for i, item := range r.items {
		if item.Name == name {
			return r.fds[i]
		}
	}
	r.t.Fatalf("%q was not offered", name)
	return nil
}

// rawListener is a rendezvous of a hostile incumbent.
func rawListener(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := fdpass.PassCred(l, true); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
		t.Fatal(err)
	}
	return l
}

// newEventfd makes a token that holds n.
func newEventfd(t *testing.T, n uint) *listener.FD {
	t.Helper()
	fd, err := unix.Eventfd(n, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	e := listener.NewFD(fd)
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// acceptRaw is the hostile incumbent's end of a connection.
func acceptRaw(t *testing.T, l *net.UnixListener) *rawPeer {
	t.Helper()
	_ = l.SetDeadline(time.Now().Add(patience))
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	return newRaw(t, c)
}

// welcome sends a WELCOME with a token that holds n.
func (r *rawPeer) welcome(n uint) {
	r.t.Helper()
	r.token = newEventfd(r.t, n)
	r.send(r.welcomes(true), r.token)
}

// welcomes is WELCOME, to an heir or not.
func (r *rawPeer) welcomes(heir bool) *wire.Welcome {
	return &wire.Welcome{Version: wire.Version, Generation: 2, Name: "raw", PID: os.Getpid(), Heir: heir, Features: r.features}
}

// offer sends one batch and waits until it is taken.
func (r *rawPeer) offer(items []wire.Item, fds ...syscall.Conn) {
	r.t.Helper()
	r.send(&wire.Offer{Last: true, Items: items}, fds...)
	hear[*wire.Taken](r)
}

// next returns the next message.
func (r *rawPeer) next() wire.Message {
	r.t.Helper()
	m, raw, err := r.recv()
	if err != nil {
		r.t.Fatal(err)
	}
	raw.Close()
	return m
}

// tcpListener listens, for a hostile incumbent to offer.
func tcpListener(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}
