package serve

import "golang.org/x/sys/unix"

// canMove says whether connections can be handed to another process on this system.
const canMove = true

// readNow reads what is there, without waiting. No error and no bytes is the end of the stream; more is false if there
// is nothing to be read yet.
func readNow(fd uintptr, p []byte) (n int, more bool, err error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch err {
		case nil:
			return n, true, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, false, nil
		default:
			return 0, true, err
		}
	}
}

// peekNow is readNow, but what it tells stays there.
func peekNow(fd uintptr, p []byte) (n int, more bool, err error) {
	for {
		n, _, err := unix.Recvfrom(int(fd), p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch err {
		case nil:
			return n, true, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, false, nil
		default:
			return 0, true, err
		}
	}
}
