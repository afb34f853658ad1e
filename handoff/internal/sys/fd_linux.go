package sys

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// Control calls f with the number behind fd, again when a signal interrupts it.
func Control(fd *listener.FD, f func(n int) error) error {
	var inner error
	err := fd.Control(func(n uintptr) {
		for {
			if inner = f(int(n)); !errors.Is(inner, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return inner
}

// UnixConn makes a connection of fd, which it takes.
func UnixConn(fd *listener.FD) (*net.UnixConn, error) {
	f := fd.File("segue")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("not a Unix socket")
	}
	return u, nil
}
