package peer

import (
	"errors"
	"net"

	"github.com/segue-go/segue/handoff/fdpass"
)

// PassCred makes the kernel say who sends what conn receives, and reports whether by pidfd, too. Before Linux 6.5 it is by number
// alone, see [Candidate].
func PassCred(conn *net.UnixConn) (pidfds bool, err error) {
	err = fdpass.PassCred(conn, true)
	if errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	return err == nil, err
}
