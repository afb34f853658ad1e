// Package peer knows who is at the other end of a connection: its credentials, whether it lives, how it ended.
//
// A [Peer] holds a pidfd, which refers to one process for ever; a number would soon mean another. Everything here works
// on processes that are not children of ours too.
package peer

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	// ErrGone is wrapped by the error of a constructor when there is no pidfd to hold.
	ErrGone = errors.New("no pidfd of the peer")

	// ErrNoCred is wrapped by the error of [FromMessage] when the message says nothing about its sender.
	ErrNoCred = errors.New("no credentials of the peer")

	// ErrSelf is returned by [Peer.Kill] when the peer is this very process.
	ErrSelf = errors.New("the peer is this process itself")

	// ErrForbidden is wrapped by the error of [Peer.Kill] when this process may not signal the peer. It lives on.
	ErrForbidden = errors.New("not allowed to kill the peer")

	// ErrDied is that of who waits for a peer that died.
	ErrDied = errors.New("the other process died")

	// ErrUnauthorized means that one side does not accept the other.
	ErrUnauthorized = errors.New("peer not authorized")
)

// ExitGrace is how long a process may take from the end of its connections to its own: the kernel closes its descriptors
// one after the other, and until the last of them is closed its addresses are in use.
const ExitGrace = time.Second

// Exit says how a process ended.
type Exit struct {
	// Code is the exit status, 0 to 255, of a process that ended by itself.
	Code int
	// Signal is what killed it, or 0.
	Signal syscall.Signal
}

// exitOf takes a wait status apart, see wait(2): the low seven bits are the signal, the eighth says whether core was
// dumped, the second byte is the exit status.
func exitOf(status uint32) Exit {
	if sig := status & 0x7f; sig != 0 {
		return Exit{Signal: syscall.Signal(sig)}
	}
	return Exit{Code: int(status >> 8 & 0xff)}
}

// Wish reports whether somebody wanted this end: exit status 0, SIGTERM or SIGINT. All else is a failure.
func (e Exit) Wish() bool {
	if e.Signal != 0 {
		return e.Signal == syscall.SIGTERM || e.Signal == syscall.SIGINT
	}
	return e.Code == 0
}

// String is for the operator: "exit status 3", "signal: killed".
func (e Exit) String() string {
	if e.Signal != 0 {
		return "signal: " + e.Signal.String()
	}
	return "exit status " + strconv.Itoa(e.Code)
}

// SameUser reports whether a process with this uid is to be trusted as much as we are: our own effective uid, or root.
//
// The overflow uid never matches, even if it is ours: the kernel gives it for each uid that this user namespace has no
// number for, so it names nobody in particular. Hence a program that runs as nobody (65534) trusts only root.
func SameUser(uid uint32) bool {
	return sameUser(uid, os.Geteuid(), overflowUID())
}

func sameUser(uid uint32, euid int, overflow uint32) bool {
	if uid == overflow {
		return false
	}
	return uid == 0 || int64(uid) == int64(euid)
}

// Remedy says what to do about somebody with this uid, which is not SameUser.
func Remedy(uid uint32) string {
	if uid == overflowUID() {
		return fmt.Sprintf("uid %d is also that of users without a number here, and proves nobody; run both as a user of their own, or set Config.Authorize", uid)
	}
	return "run both as one user, or set Config.Authorize"
}

// overflowUID is 65534 unless somebody changed it (proc_sys_kernel(5)). It is read once: a handover asks four times, and
// each time would be as long as a message takes.
var overflowUID = sync.OnceValue(func() uint32 {
	const usual = 65534
	b, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return usual
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return usual
	}
	return uint32(n)
})

// String is for the log: "process 4711 (uid 1000)".
func (p *Peer) String() string {
	return fmt.Sprintf("process %d (uid %d)", p.PID, p.UID)
}
