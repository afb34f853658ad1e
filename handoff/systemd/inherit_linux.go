package systemd

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/sockdiag"
	"github.com/segue-go/segue/listener"
)

// firstFD is SD_LISTEN_FDS_START, sd_listen_fds(3).
const firstFD = 3

// maxFDs bounds LISTEN_FDS: nobody has more (fs.nr_open, by default).
const maxFDs = 1 << 20

// listenVariables belong to one process. They are removed once read, so that no other process takes them for its own.
var listenVariables = []string{"LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID"}

// readEnvironment returns the descriptors that LISTEN_FDS gives to this process, which owns those that are sockets from now on. What
// is meant for another process, an ancestor, is nothing.
func readEnvironment(log *slog.Logger) ([]*given, error) {
	env := map[string]string{}
	for _, name := range listenVariables {
		if v, ok := os.LookupEnv(name); ok {
			env[name] = v
			if err := os.Unsetenv(name); err != nil {
				return nil, err
			}
		}
	}
	n, fdNames, err := meant(env, os.Getpid(), ownPidFDID)
	if err != nil {
		return nil, err
	}
	if env["LISTEN_FDS"] != "" && n == 0 {
		log.Debug("LISTEN_FDS is for another process", "for", env["LISTEN_PID"])
	}
	var all []*given
	var missing []error
	for i := range n {
		d := &given{Socket: Socket{Number: firstFD + i, FDName: fdNames[i]}}
		if _, err := unix.FcntlInt(uintptr(d.Number), unix.F_GETFD, 0); err != nil {
			missing = append(missing, fmt.Errorf("%v is not open: %w", d, err))
			continue
		}
		unix.CloseOnExec(d.Number)
		d.describe()
		all = append(all, d)
	}
	return all, errors.Join(missing...)
}

// meant reads the variables. 0 means that they are not for this process, or not there.
func meant(env map[string]string, pid int, pidFDID func() (uint64, error)) (n int, fdNames []string, err error) {
	fds, ok := env["LISTEN_FDS"]
	if !ok {
		return 0, nil, nil
	}
	if id, ok := env["LISTEN_PIDFDID"]; ok {
		want, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return 0, nil, fmt.Errorf("LISTEN_PIDFDID=%q is no number", id)
		}
		if own, err := pidFDID(); err == nil && own != want {
			return 0, nil, nil
		}
	}
	switch p, ok := env["LISTEN_PID"]; {
	case !ok:
		return 0, nil, nil // as for sd_listen_fds(3)
	default:
		want, err := strconv.Atoi(p)
		if err != nil || want <= 0 {
			return 0, nil, fmt.Errorf("LISTEN_PID=%q is no process id", p)
		}
		if want != pid {
			return 0, nil, nil
		}
	}
	if n, err = strconv.Atoi(fds); err != nil || n < 0 || n > maxFDs {
		return 0, nil, fmt.Errorf("LISTEN_FDS=%q is no number of descriptors", fds)
	}
	if n == 0 {
		return 0, nil, nil
	}
	value, set := env["LISTEN_FDNAMES"]
	fdNames, err = names(value, set, n)
	return n, fdNames, err
}

// ownPidFDID is the inode number of a pidfd of this process, by which systemd 257 and later name a process. Before Linux 6.9 all
// pidfds have the same.
func ownPidFDID() (uint64, error) { return pidFDID(os.Getpid()) }

func pidFDID(pid int) (uint64, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil {
		return 0, err
	}
	if fs.Type != unix.PID_FS_MAGIC {
		return 0, errors.ErrUnsupported
	}
	return st.Ino, nil
}

var (
	errNoSocket   = errors.New("it is no socket")
	errNetwork    = errors.New("it is a socket of a kind that Go does not serve")
	errConnection = errors.New("it is a connection, not a listening socket; the socket unit needs Accept=no")
	errPath       = errors.New("its path is gone, so that no client can reach it")
)

// describe finds out what a descriptor is, and owns it if it is a socket.
func (d *given) describe() {
	fd := listener.NewFD(d.Number)
	d.info, d.Err = listener.Describe(fd)
	if d.Err == nil && !d.info.Socket {
		fd.Disown() // the runtime of Go may have opened it, if the variables lie
		d.Err = errNoSocket
		return
	}
	d.fd = fd
	d.Network, d.Address = d.info.Network, d.info.Address
	d.Name, d.Stored = Unescape(d.FDName)
	d.Stored = d.Stored || d.FDName == "stored" || len(d.FDName) > len(storedPrefix) && d.FDName[:len(storedPrefix)] == storedPrefix
	switch {
	case d.Err != nil:
	case d.Network == "":
		d.Err = errNetwork
	case slices.Contains([]string{"tcp", "unix", "unixpacket"}, d.Network) && !d.info.Listening:
		d.Err = errConnection
	case d.Stored && d.info.Domain == unix.AF_UNIX:
		d.path, d.Err = boundPath(d.info)
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
