package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/peer"
)

// witness finds out who is at the other end where messages come without pidfds, before Linux 6.5. The number that comes with a
// message is opened, and believed once another message names it of which it is known that it was sent after the opening: the
// reader has seen the queue empty in between. See [peer.Candidate].
//
// Two sides can be sure of each other by that. The successor opens the number of the listener or of its parent before it says
// HELLO, so WELCOME proves. The incumbent opens the number in HELLO, and TAKEN proves, for which it asks before it gives
// anything ([transport.Sender]). A child of its own is held by the pidfd of clone(2), and needs no proof.
//
// Somebody who does not keep to the protocol, and lets another process have its number, gets nothing by it: this side neither
// kills nor takes from a process that has not itself sent on this connection after it was opened. So all that is left to do to
// others is what its user can do anyway, by kill(2) and ptrace(2). Were the first message believed, a process that queued two and
// died would have a privileged incumbent kill whoever got its number.
//
// It is the reader's.
type witness struct {
	candidate *peer.Peer // who speaks, or is expected to; closed with the link
	err       error      // why there is none, though somebody has spoken
	heard     bool       // somebody has
	fresh     bool       // the queue was empty since the candidate was opened: what comes now was sent later
}

// hear looks at who sent m. It is called before m is delivered, since what m is answered by may be answered in turn.
func (l *Link) hear(m *fdpass.Message) {
	w := &l.witness
	if m.Cred == nil || m.PidFD != nil || passesPidFD(l) {
		return
	}
	if !w.heard && (w.candidate == nil || w.candidate.PID != m.Cred.PID) {
		if w.candidate != nil {
			_ = w.candidate.Close()
		}
		w.fresh = false
		w.candidate, w.err = l.open(m.Cred)
		w.heard = true
		l.look()
		return // m itself was sent before
	}
	w.heard = true
	if w.candidate == nil || w.candidate.PID != m.Cred.PID {
		return
	}
	if w.fresh && w.candidate.Doubtful() {
		w.candidate.Heard(m.Cred.PID)
	}
}

// open opens a candidate, which takes two descriptors.
func (l *Link) open(cred *fdpass.Cred) (p *peer.Peer, err error) {
	op := func() error {
		p, err = peer.Candidate(cred.PID, cred.UID, cred.GID)
		return err
	}
	if l.Spares != nil {
		_ = l.Spares.Do(2, 1, op)
	} else {
		_ = op()
	}
	return p, err
}

// look looks whether the queue is empty. It is called before each message is received.
func (l *Link) look() {
	w := &l.witness
	if w.fresh || w.candidate == nil {
		return
	}
	queued, err := l.queued()
	w.fresh = err == nil && queued == 0
}

// queued is how many bytes wait to be received, of all messages: SIOCINQ, unix(7).
func (l *Link) queued() (bytes int, err error) {
	raw, err := l.Conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(n uintptr) { bytes, err = unix.IoctlGetInt(int(n), unix.SIOCINQ) }); e != nil {
		return 0, e
	}
	return bytes, err
}

// passesPidFD reports whether the kernel can add pidfds to messages. It is asked only if one came without.
func passesPidFD(l *Link) bool {
	raw, err := l.Conn.SyscallConn()
	if err != nil {
		return true
	}
	var inner error
	err = raw.Control(func(n uintptr) { _, inner = unix.GetsockoptInt(int(n), unix.SOL_SOCKET, unix.SO_PASSPIDFD) })
	return err != nil || inner != unix.ENOPROTOOPT
}

// Introduce makes a Peer of the sender of f. It may be in doubt, see [peer.Peer.Doubtful]; then the next messages may end that.
// Either it becomes l.Peer, or the caller closes it.
func (l *Link) Introduce(f Frame) (*peer.Peer, error) {
	switch {
	case f.Raw == nil || f.Raw.Cred == nil || f.Raw.PidFD != nil || f.who == nil && f.whoErr == nil:
		return peer.FromMessage(f.Raw)
	case f.who == nil:
		return nil, f.whoErr
	case f.who.PID != f.Raw.Cred.PID:
		return nil, fmt.Errorf("%w: process %d spoke after process %d", ErrProtocol, f.Raw.Cred.PID, f.who.PID)
	}
	f.who.UID, f.who.GID = f.Raw.Cred.UID, f.Raw.Cred.GID // nobody else has it yet
	return f.who, nil
}

// Introduced says that l.Peer is known, or is going to be: the kernel need not say any more who sends, which costs a pidfd each
// time, unless that is to prove it yet.
func (l *Link) Introduced() error {
	if l.Peer.Doubtful() {
		return nil
	}
	if err := fdpass.PassCred(l.Conn, false); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
