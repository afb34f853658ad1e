package link

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// Link is one connection of the protocol: frames in, frames out, and the process at the other end. One goroutine at a
// time may call Recv and what calls it; Send may be called from several.
type Link struct {
	Options
	Conn *net.UnixConn // for what the kernel says of it: only the link reads and writes
	Peer *peer.Peer    // nil until it has introduced itself; Close closes it

	frames chan Frame    // from the reader; closed when it ends
	synced chan uint64   // the reader has passed on all that was queued at that sync
	syncs  atomic.Uint64 // syncs asked for
	quit   chan struct{} // closed by Close
	reset  bool          // the reader has passed over an ECONNRESET
	ended  error         // why Recv gives nothing more; owned by the caller of Recv
	due    due           // likewise

	witness witness
}

// Options are what a link is to know. Only Step must be set.
type Options struct {
	Other string        // what the process at the other end is, for errors: successor, or incumbent
	Step  time.Duration // bounds each message
	// Sent and Received observe: they are called with a message that has been sent, and with one before Recv returns it, and the
	// number of its descriptors.
	Sent, Received func(m wire.Message, descriptors int)
	// Aside is called with each message as it comes, in the order in which they come, and says whether it was for it: then Recv
	// does not return it. It must be quick. Nil: none is.
	Aside func(m wire.Message) bool
	// Spares are for the pidfd that comes with the first message, which is lost if there is no descriptor for it. Nil: none comes.
	Spares *spares.Pool
	// Expect is who is to speak, where messages come without pidfds; nil otherwise, or if that is not known. The link closes it.
	Expect *peer.Peer
}

// Frame is a message and the descriptors that came with it.
type Frame struct {
	Msg  wire.Message
	Raw  *fdpass.Message // with the descriptors, which are the caller's to take or to close
	Lost error           // why the descriptors of a CONNS have not come; the other side still has its own

	err    error      // the end, instead of a message
	who    *peer.Peer // see witness
	whoErr error      // why there is none
}

// New takes conn. The reader ends with Close.
func New(conn *net.UnixConn, options Options) *Link {
	l := &Link{
		Options: options,
		Conn:    conn,
		frames:  make(chan Frame),
		synced:  make(chan uint64, 1),
		quit:    make(chan struct{}),
	}
	l.witness.candidate = l.Expect
	l.look() // before anything is said that could be answered
	go l.read()
	return l
}

// Close ends the link and waits for its reader. What is queued unread is dropped, its descriptors closed.
func (l *Link) Close() {
	close(l.quit)
	_ = l.Conn.Close()
	for f := range l.frames {
		f.Raw.Close()
	}
	if l.Peer != nil {
		_ = l.Peer.Close()
	}
	if c := l.witness.candidate; c != nil && c != l.Peer {
		_ = c.Close()
	}
}

// HangUp ends the link. What becomes of the process at the other end can still be seen.
func (l *Link) HangUp() { _ = l.Conn.Close() }
