package fdpass

import (
	"errors"

	"github.com/segue-go/segue/listener"
)

// MaxFDs is the most descriptors that one message carries: SCM_MAX_FD in the kernel's include/net/scm.h.
const MaxFDs = 253

var (
	// ErrTruncated is wrapped by the error of a receive that did not get all that was sent: the bytes did not fit the
	// buffer (MSG_TRUNC), or descriptors were lost (MSG_CTRUNC), usually because RLIMIT_NOFILE is reached. What did
	// arrive has been closed, and the message is gone from the queue.
	ErrTruncated = errors.New("message truncated")

	// ErrWouldBlock is returned by [TryRecv] when nothing is queued.
	ErrWouldBlock = errors.New("no message is queued")

	// ErrTooMany is wrapped by the error of a [Send] of more than [MaxFDs] descriptors, and of a [RecvAll] to which more
	// came than it allows, or than the other side announced.
	ErrTooMany = errors.New("too many descriptors")
)

// Cred says who sent a message, as the kernel vouches for it (SCM_CREDENTIALS). Only a process with CAP_SYS_ADMIN,
// CAP_SETUID or CAP_SETGID over this user namespace can send another's.
type Cred struct {
	// PID is the sender's process, as this process's PID namespace numbers it. It is 0 for a process that has no number
	// there, and for a message that was queued before [PassCred].
	PID int
	// UID and GID are the sender's real ids, as this process's user namespace numbers them: the overflow ids (65534) if
	// they have no number there, and for a message that was queued before [PassCred].
	UID, GID uint32
}

// Message is what one receive got. It owns its descriptors until the caller takes them out. It is for one goroutine at a
// time.
type Message struct {
	// Payload is the part of the caller's buffer that was filled.
	Payload []byte
	// FDs are in the order in which they were sent. To keep one, set its element to nil.
	FDs []*listener.FD
	// Cred is nil unless [PassCred] is on.
	Cred *Cred
	// PidFD refers to the process that Cred names, however its number is reused. It is nil unless [PassCred] is on, and
	// if the sender was reaped already and the kernel is older than 6.17.
	PidFD *listener.FD
}

// Close closes the descriptors that are still in m. It is idempotent and may be called on nil.
func (m *Message) Close() {
	if m == nil {
		return
	}
	for i, fd := range m.FDs {
		_ = fd.Close() // nothing was written through it; there is no error to act on
		m.FDs[i] = nil
	}
	m.FDs = nil
	_ = m.PidFD.Close()
	m.PidFD = nil
}
