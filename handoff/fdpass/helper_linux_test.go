package fdpass

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// patience bounds what should take no time at all.
const patience = 20 * time.Second

var sockTypes = []struct {
	name string
	typ  int
}{{"stream", unix.SOCK_STREAM}, {"seqpacket", unix.SOCK_SEQPACKET}}

// eachType runs fn on a pair of connected sockets of both types.
func eachType(t *testing.T, fn func(t *testing.T, a, b *net.UnixConn)) {
	t.Helper()
	for _, st := range sockTypes {
		t.Run(st.name, func(t *testing.T) {
			a, b := pair(t, st.typ)
			fn(t, a, b)
		})
	}
}

func pair(t *testing.T, typ int) (a, b *net.UnixConn) {
	t.Helper()
	nums, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return unixConn(t, nums[0]), unixConn(t, nums[1])
}

func unixConn(t *testing.T, n int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(n), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

// openFDs returns what /proc/self/fd says, without the descriptor that reads it.
func openFDs(t *testing.T) map[int]string {
	t.Helper()
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	open := map[int]string{}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // not the one that is closed by now
			open[n] = link
		}
	}
	return open
}

// noNewFDs fails the test if fn leaves a descriptor open, or closes one.
func noNewFDs(t *testing.T, fn func()) {
	t.Helper()
	before := openFDs(t)
	fn()
	after := openFDs(t)
	same := func(n int, link string) bool { return after[n] == link }
	lost := maps.Clone(before)
	maps.DeleteFunc(lost, same)
	maps.DeleteFunc(after, func(n int, link string) bool { return before[n] == link })
	if len(lost)+len(after) > 0 {
		t.Errorf("descriptors changed: closed %.200s, opened %.200s", fmt.Sprint(lost), fmt.Sprint(after))
	}
}

// onlyFree sets RLIMIT_NOFILE such that just n more descriptors can be made.
func onlyFree(t *testing.T, n int) (restore func()) {
	t.Helper()
	limit := 0
	var taken []int
	for range n {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
		limit = fd + 1
	}
	if n == 0 {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		taken, limit = append(taken, fd), fd
	}
	for _, fd := range taken {
		unix.Close(fd)
	}
	var old unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: uint64(limit), Max: old.Max}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// events returns n eventfds that can be told apart: the i-th holds i+1.
func events(t *testing.T, n int) []syscall.Conn {
	t.Helper()
	conns := make([]syscall.Conn, n)
	for i := range conns {
		fd, err := unix.Eventfd(uint(i+1), unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		f := listener.NewFD(fd)
		t.Cleanup(func() { f.Close() })
		conns[i] = f
	}
	return conns
}

func flags(t *testing.T, c syscall.Conn) (status, fd int) {
	t.Helper()
	control(t, c, func(n int) {
		var err error
		if status, err = unix.FcntlInt(uintptr(n), unix.F_GETFL, 0); err != nil {
			t.Fatal(err)
		}
		if fd, err = unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err != nil {
			t.Fatal(err)
		}
	})
	return status, fd
}

func control(t *testing.T, c syscall.Conn, fn func(n int)) {
	t.Helper()
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Control(func(n uintptr) { fn(int(n)) }); err != nil {
		t.Fatal(err)
	}
}

// needsRoot skips a test that cannot be done as an ordinary user. CI runs as root, and must not pass without it.
func needsRoot(t *testing.T, why string) {
	t.Helper()
	skip(t, why)
}

// skip skips a test for something that CI has, where it must not pass without.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" && os.Getenv(userVar) == "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
