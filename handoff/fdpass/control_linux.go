package fdpass

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// controlSpace has room for all that the kernel adds to one message: descriptors, credentials and a pidfd. It adds no
// more than one of each (scm_recv_unix in net/core/scm.c). It is unix.CmsgSpace of each, rounded as on 64 bits; a constant,
// so that the buffer can be on the stack: an allocation of this size takes longer than a descriptor.
const controlSpace = 3*unix.SizeofCmsghdr + (MaxFDs*4+7)&^7 + (unix.SizeofUcred+7)&^7 + 8

// noPidFD is not an errno.
const noPidFD = -1 << 20

var errControl = errors.New("malformed control data")

// received is what control data says. Its numbers are owned by nobody yet.
type received struct {
	fds   []int
	cred  *Cred
	pidfd int // or noPidFD, or the negative errno with which the kernel failed to make one
}

func (got *received) reset() { *got = received{fds: got.fds[:0], pidfd: noPidFD} }

// close closes what is still owned by nobody.
func (got *received) close() {
	for _, n := range got.fds {
		_ = unix.Close(n) // nothing was written through it
	}
	if got.pidfd >= 0 {
		_ = unix.Close(got.pidfd)
	}
	got.reset()
}

// parse takes control data apart, into what reset has emptied. With an error, got has all that was found nevertheless, to
// be closed.
func (got *received) parse(control []byte) error {
	var errs error
	for len(control) > 0 {
		if len(control) < unix.CmsgLen(0) {
			return errors.Join(errs, fmt.Errorf("%w: %d bytes left over", errControl, len(control)))
		}
		hdr, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return errors.Join(errs, fmt.Errorf("%w: header: %w", errControl, err))
		}
		control = rest
		if hdr.Level != unix.SOL_SOCKET {
			continue
		}
		switch hdr.Type {
		case unix.SCM_RIGHTS:
			if len(data)%4 != 0 {
				errs = errors.Join(errs, fmt.Errorf("%w: SCM_RIGHTS of %d bytes", errControl, len(data)))
			}
			got.fds = slices.Grow(got.fds, len(data)/4)
			for ; len(data) >= 4; data = data[4:] {
				got.fds = append(got.fds, number(data))
			}
		case unix.SCM_CREDENTIALS:
			if len(data) != unix.SizeofUcred {
				errs = errors.Join(errs, fmt.Errorf("%w: SCM_CREDENTIALS of %d bytes", errControl, len(data)))
				continue
			}
			got.cred = &Cred{
				PID: number(data),
				UID: binary.NativeEndian.Uint32(data[4:]),
				GID: binary.NativeEndian.Uint32(data[8:]),
			}
		case unix.SCM_PIDFD:
			if len(data) != 4 || got.pidfd != noPidFD {
				errs = errors.Join(errs, fmt.Errorf("%w: SCM_PIDFD of %d bytes, or a second one", errControl, len(data)))
				continue
			}
			got.pidfd = number(data)
		}
	}
	return errs
}

// number reads a C int.
func number(b []byte) int { return int(int32(binary.NativeEndian.Uint32(b))) }
