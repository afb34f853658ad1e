package supervise

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	probeEvery   = 100 * time.Millisecond
	probeTimeout = time.Second
)

// probe returns true once pid, or a descendant, has accepted a connection to address, and has answered a GET of path there if
// that is not empty; false if ctx ends before.
//
// A connection alone proves nothing: the kernel makes it, and the old process accepts from the same queue. So it is looked
// who has the server's end of it. One that another process has accepted is closed, without a request.
//
// If this process may not look, a process that is alone passes for the one that has accepted: nobody else has the sockets.
func probe(ctx context.Context, pid int, alone bool, address, path string, log *slog.Logger) bool {
	last := ""
	for {
		err := probeOnce(ctx, pid, alone, address, path)
		if err == nil {
			return true
		}
		if ctx.Err() == nil && err.Error() != last && !errors.Is(err, errOther) {
			last = err.Error()
			level, msg := slog.LevelInfo, "a new process is not ready yet"
			if errors.Is(err, os.ErrPermission) {
				level, msg = slog.LevelWarn, "it cannot be seen whether a new process is ready; use --ready notify or a time, or give this process CAP_SYS_PTRACE"
			}
			log.Log(ctx, level, msg, "pid", pid, "error", err)
		}
		select {
		case <-time.After(probeEvery):
		case <-ctx.Done():
			return false
		}
	}
}

// errOther: the old process has accepted, or nobody yet.
var errOther = errors.New("it has not accepted a connection yet")

func probeOnce(ctx context.Context, pid int, alone bool, address, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	ours, ok1 := conn.LocalAddr().(*net.TCPAddr)
	theirs, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return errors.New("no TCP connection")
	}
	for {
		inode, err := inodeOf(theirs.AddrPort(), ours.AddrPort())
		if err != nil {
			return err
		}
		if inode != 0 { // accepted
			switch held, err := holds(pid, inode); {
			case held, err != nil && alone:
			case err != nil:
				return err
			default:
				return errOther
			}
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return errOther
		}
	}
	if path == "" {
		return nil
	}
	return get(conn, address, path)
}

// get asks on conn.
func get(conn net.Conn, host, path string) error {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: segue-run\r\nConnection: close\r\n\r\n", path, host); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 4<<10)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("GET %s: no answer: %w", path, err)
	}
	words := strings.Fields(line)
	if len(words) < 2 || !strings.HasPrefix(words[0], "HTTP/1.") {
		return fmt.Errorf("GET %s: the answer is not HTTP/1.1: %.80q", path, line)
	}
	if status, err := strconv.Atoi(words[1]); err != nil || status < 200 || status >= 400 {
		return fmt.Errorf("GET %s: %.80s", path, strings.TrimSpace(line))
	}
	return nil
}

// inodeOf returns the inode of the TCP socket with these addresses, and 0 if there is none or nobody has accepted it.
func inodeOf(local, remote netip.AddrPort) (uint64, error) {
	tables := []string{"/proc/net/tcp6"} // where a socket that listens on all addresses has IPv4 clients too
	if local.Addr().Unmap().Is4() {
		tables = append(tables, "/proc/net/tcp")
	}
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return 0, err
		}
		l, r := hexAddr(local, name), hexAddr(remote, name)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line) // proc_pid_net(5)
			if len(f) > 9 && f[1] == l && f[2] == r {
				return strconv.ParseUint(f[9], 10, 64)
			}
		}
	}
	return 0, nil
}

// hexAddr writes an address as these tables do: each 32 bits in the byte order of the machine, and the port.
func hexAddr(a netip.AddrPort, table string) string {
	var b []byte
	if strings.HasSuffix(table, "6") {
		a16 := a.Addr().As16()
		b = a16[:]
	} else {
		a4 := a.Addr().Unmap().As4()
		b = a4[:]
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	return strings.ToUpper(hex.EncodeToString(b)) + fmt.Sprintf(":%04X", a.Port())
}

// holds reports whether pid or a descendant has this socket. An error: it has not been found, and not everybody may be looked at.
func holds(pid int, inode uint64) (bool, error) {
	var hidden error
	for _, p := range family(pid) {
		held, err := hasSocket(p, inode)
		if errors.Is(err, os.ErrPermission) {
			held, err = asOwner(p, func() (bool, error) { return hasSocket(p, inode) })
		}
		if held {
			return true, nil
		}
		if errors.Is(err, os.ErrPermission) {
			hidden = err
		}
	}
	return false, hidden
}

func hasSocket(pid int, inode uint64) (held bool, err error) {
	want, dir := fmt.Sprintf("socket:[%d]", inode), fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		link, linkErr := os.Readlink(dir + "/" + e.Name())
		if linkErr == nil && link == want {
			return true, nil
		}
		if errors.Is(linkErr, os.ErrPermission) {
			err = linkErr
		}
	}
	return false, err
}

// asOwner calls f as the user of a process. So root without CAP_SYS_PTRACE, which containers do not have, may look at a process that has
// changed its user (proc_pid_fd(5), ptrace(2)).
func asOwner(pid int, f func() (bool, error)) (held bool, err error) {
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", pid), &st); err != nil {
		return false, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with this goroutine, and nothing else runs as that user
		_, _ = unix.SetfsgidRetGid(int(st.Gid))
		_, _ = unix.SetfsuidRetUid(int(st.Uid)) // an error shows in f
		held, err = f()
	}()
	<-done
	return held, err
}
