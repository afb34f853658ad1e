package rendezvous

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/peer"
)

// Authorize decides whether p may take part in a handoff. rule is the program's own; without one, p's credentials, which are
// those of the process that speaks (SCM_CREDENTIALS), must be this user's or root's, and so must those with which conn was made
// (SO_PEERCRED: effective ids). conn is nil if p has not said anything. The error is [peer.ErrUnauthorized].
func Authorize(rule func(*peer.Peer) error, p *peer.Peer, conn *net.UnixConn) error {
	if rule != nil {
		if err := rule(p); err != nil {
			return fmt.Errorf("%w: %v: %w", peer.ErrUnauthorized, p, err)
		}
		return nil
	}
	uids := []uint32{p.UID}
	if conn != nil {
		uid, err := uidOf(conn)
		if err != nil {
			return err
		}
		uids = append(uids, uid)
	}
	for _, uid := range uids {
		if !peer.SameUser(uid) {
			return fmt.Errorf("%w: %v; %s", peer.ErrUnauthorized, p, peer.Remedy(uid))
		}
	}
	return nil
}

// uidOf is the user with whose effective id conn was made.
func uidOf(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(n uintptr) {
		cred, inner = unix.GetsockoptUcred(int(n), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, os.NewSyscallError("getsockopt SO_PEERCRED", inner)); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
