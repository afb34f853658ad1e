package systemd

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/sockdiag"
	"github.com/segue-go/segue/internal/startenv"
	"github.com/segue-go/segue/listener"
)

// readEnvironment returns the descriptors that LISTEN_FDS gives to this process, which owns those that are sockets from now on. What
// is meant for another process, an ancestor, is nothing.
func readEnvironment(log *slog.Logger) ([]*given, error) {
	l, err := startenv.TakeListen()
	if err != nil {
		return nil, err
	}
	if l.Foreign {
		log.Debug("LISTEN_FDS is for another process", "for", l.PID)
	}
	var all []*given
	var missing []error
	for i, name := range l.Names {
		d := &given{number: startenv.FirstFD + i, fdName: name}
		if _, err := unix.FcntlInt(uintptr(d.number), unix.F_GETFD, 0); err != nil {
			missing = append(missing, fmt.Errorf("%v is not open: %w", d, err))
			continue
		}
		unix.CloseOnExec(d.number)
		d.describe()
		all = append(all, d)
	}
	return all, errors.Join(missing...)
}

var (
	errNoSocket   = errors.New("it is no socket")
	errNetwork    = errors.New("it is a socket of a kind that Go does not serve")
	errConnection = errors.New("it is a connection, not a listening socket; the socket unit needs Accept=no")
	errPath       = errors.New("its path is gone, so that no client can reach it")
)

// describe finds out what a descriptor is, and owns it if it is a socket.
func (d *given) describe() {
	d.name, d.stored = unescape(d.fdName)
	d.stored = d.stored || d.fdName == "stored" || strings.HasPrefix(d.fdName, storedPrefix)
	fd := listener.NewFD(d.number)
	d.info, d.err = listener.Describe(fd)
	if d.err == nil && !d.info.Socket {
		fd.Disown() // the runtime of Go may have opened it, if the variables lie
		d.err = errNoSocket
		return
	}
	d.fd = fd
	d.network, d.address = d.info.Network, d.info.Address
	switch {
	case d.err != nil:
	case d.network == "":
		d.err = errNetwork
	case slices.Contains([]string{"tcp", "unix", "unixpacket"}, d.network) && !d.info.Listening:
		d.err = errConnection
	case d.stored && d.info.Domain == unix.AF_UNIX:
		d.path, d.err = boundPath(d.info)
	}
}

// boundPath returns the file of a Unix socket that a generation has bound, if that is still at its path. An abstract name has none.
func boundPath(i listener.Info) (*listener.UnixPath, error) {
	if i.Address == "" || i.Address[0] == '@' {
		return nil, nil
	}
	dev, ino, err := sockdiag.BoundFile(uint32(i.Ino))
	if err != nil {
		return nil, err
	}
	p, err := listener.StatUnixPath(i.Address)
	// The kernel's form of a device number in sock_diag(7) is not that of stat(2).
	if err != nil || uint32(p.Ino) != ino || dev != unix.Major(p.Dev)<<20|unix.Minor(p.Dev) {
		return nil, errPath
	}
	return p, nil
}
