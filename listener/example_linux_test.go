package listener_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// newFD returns a descriptor of a listening socket, as one that was inherited.
func newFD() *listener.FD {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return must(listener.Dup(l.(*net.TCPListener)))
}

// dir returns a new directory, and what removes it.
func dir() (string, func()) {
	d := must(os.MkdirTemp("", "segue"))
	return d, func() { os.RemoveAll(d) }
}

// The copy is the same socket: it stays open when the original is closed, and no status flag has changed.
func ExampleDup() {
	l := must(net.Listen("tcp", "127.0.0.1:0")).(*net.TCPListener)
	fd := must(listener.Dup(l))
	defer fd.Close()
	same := must(listener.Describe(fd)).Same(must(listener.Describe(l)))
	check(l.Close())
	c, err := net.Dial("tcp", l.Addr().String())
	fmt.Println(same, err)
	c.Close()
	// Output: true <nil>
}

func ExampleDescribe() {
	fd := newFD()
	defer fd.Close()
	info := must(listener.Describe(fd))
	fmt.Println(info.Network, info.Listening, info.Protocol == unix.IPPROTO_MPTCP, info.Flags&unix.O_NONBLOCK != 0)
	// Output: tcp true true true
}

func ExampleInfo_Same() {
	a, b := newFD(), newFD()
	defer a.Close()
	defer b.Close()
	ofA, ofB := must(listener.Describe(a)), must(listener.Describe(b))
	fmt.Println(ofA.Same(ofA), ofA.Same(ofB))
	// Output: true false
}

func ExampleNewFD() {
	n := must(unix.Eventfd(1, unix.EFD_CLOEXEC))
	fd := listener.NewFD(n) // closes n, unless it gives it away
	fmt.Println(fd.Close(), fd.Close())
	// Output: <nil> <nil>
}

func ExampleNewFDs() {
	var pair [2]int
	check(unix.Pipe2(pair[:], unix.O_CLOEXEC))
	for _, fd := range listener.NewFDs(pair[:]) {
		fmt.Println(fd.Close())
	}
	// Output:
	// <nil>
	// <nil>
}

func ExampleFD_Control() {
	fd := newFD()
	defer fd.Close()
	check(fd.Control(func(n uintptr) { // n must not leave this function
		v, err := unix.GetsockoptInt(int(n), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		fmt.Println(v, err)
	}))
	// Output: 1 <nil>
}

func ExampleControlAll() {
	fds := []*listener.FD{newFD(), newFD()}
	defer fds[0].Close()
	defer fds[1].Close()
	check(listener.ControlAll(fds, nil, func(ns []int) { // the numbers must not leave this function
		fmt.Println(len(ns), ns[0] != ns[1])
	}))
	// Output: 2 true
}

// An FD is a syscall.Conn, but nobody can wait for it.
func ExampleFD_SyscallConn() {
	fd := newFD()
	defer fd.Close()
	raw := must(fd.SyscallConn())
	err := raw.Read(func(uintptr) bool { return true })
	fmt.Println(errors.Is(err, errors.ErrUnsupported))
	// Output: true
}

func ExampleFD_Disown() {
	fd := newFD()
	n := fd.Disown() // from here on it is for us to close
	fmt.Println(n > 2, fd.Disown(), unix.Close(n))
	// Output: true -1 <nil>
}

func ExampleFD_File() {
	var pair [2]int
	check(unix.Pipe2(pair[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	r, w := listener.NewFD(pair[0]).File("reader"), listener.NewFD(pair[1]).File("writer")
	defer r.Close()
	must(w.WriteString("hello"))
	check(w.Close())
	fmt.Println(string(must(io.ReadAll(r))))
	// Output: hello
}

func ExampleFD_Close() {
	fd := newFD()
	check(fd.Close())
	err := fd.Control(func(uintptr) {})
	fmt.Println(errors.Is(err, net.ErrClosed), fd.Close())
	// Output: true <nil>
}

func ExampleFromFD() {
	fd := newFD() // inherited, say
	l, err := listener.FromFD(fd, listener.Options{})
	if err != nil {
		fd.Close() // on error it stays the caller's
		return
	}
	defer l.Close()
	check(l.Open()) // it starts parked
	defer dial(l).Close()
	fmt.Println(hear(must(l.Accept())))
	// Output: hello
}

// What can fail for want of descriptors is done before it matters.
func ExampleListener_Arm() {
	l := must(listener.FromFD(newFD(), listener.Options{}))
	defer l.Close()
	fmt.Println(l.Arm(), l.Open())
	// Output: <nil> <nil>
}

func ExampleListener_Park() {
	l := paused()
	defer l.Close()
	check(l.Park()) // another process accepts now, and is not slowed down by us
	check(l.Open()) // it has died: back again
	defer dial(l).Close()
	fmt.Println(hear(must(l.Accept())))
	// Output: hello
}

// onPath listens on a Unix socket in d.
func onPath(d string) (l *listener.Listener, path string) {
	path = filepath.Join(d, "sock")
	inner := must(net.Listen("unix", path))
	return must(listener.New(inner, listener.Options{Unlink: must(listener.StatUnixPath(path))})), path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Another process holds the socket now, so the file stays.
func ExampleListener_Discard() {
	d, remove := dir()
	defer remove()
	l, path := onPath(d)
	fmt.Println(l.Discard(), exists(path))
	// Output: <nil> true
}

func ExampleListener_SetUnlinkOnClose() {
	d, remove := dir()
	defer remove()
	l, path := onPath(d)
	l.SetUnlinkOnClose(false)
	fmt.Println(l.Close(), exists(path))
	// Output: <nil> true
}

func ExampleListener_UnlinkOnClose() {
	d, remove := dir()
	defer remove()
	l, path := onPath(d)
	fmt.Println(l.UnlinkOnClose(), l.Close(), exists(path))
	// Output: true <nil> false
}

func ExampleStatUnixPath() {
	d, remove := dir()
	defer remove()
	path := filepath.Join(d, "sock")
	l := must(net.Listen("unix", path))
	defer l.Close()
	p, err := listener.StatUnixPath(path)
	fmt.Println(p.Path == path, p.Ino != 0, err)
	_, err = listener.StatUnixPath(d)
	fmt.Println(errors.Is(err, listener.ErrNotSocket))
	// Output:
	// true true <nil>
	// true
}

// Somebody has removed our file and bound anew: that one is not ours to remove.
func ExampleUnixPath_Unlink() {
	d, remove := dir()
	defer remove()
	path := filepath.Join(d, "sock")
	ours := must(net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}))
	ours.SetUnlinkOnClose(false)
	defer ours.Close()
	p := must(listener.StatUnixPath(path))
	check(os.Rename(path, path+".old")) // as if removed; the inode stays in use, so that it cannot be given out again
	theirs := must(net.Listen("unix", path))
	defer theirs.Close()
	fmt.Println(p.Unlink(), exists(path))
	// Output: <nil> true
}

// control shows that the methods of a RawConn reach the socket.
func control(c syscall.Conn) (typ int) {
	check(must(c.SyscallConn()).Control(func(fd uintptr) {
		typ = must(unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE))
	}))
	return typ
}
