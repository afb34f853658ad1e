package fdpass_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

// number is for examples, in which the process that is taken from is this one. Of another process it would be found in
// /proc/PID/fd.
func number(fd *listener.FD) (n int) {
	_ = fd.Control(func(fd uintptr) { n = int(fd) })
	return n
}

func listening() *listener.FD {
	ln := orExit(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	return orExit(listener.Dup(ln.(*net.TCPListener)))
}

// A listening socket is taken from a process that need not know.
func ExampleOpenProcess() {
	theirs := listening()
	defer theirs.Close()

	p, err := fdpass.OpenProcess(os.Getpid())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	fd, err := p.Get(number(theirs))
	if errors.Is(err, fdpass.ErrRefused) {
		fmt.Println(err) // with the cause that was found, and what to do about it
		return
	}
	info := orExit(listener.Describe(fd))
	fmt.Println(info.Network, info.Listening, fd.Close())
	// Output: tcp true <nil>
}

// A pidfd is at hand already: of a peer, or of a child.
func ExampleNewProcess() {
	pidfd := listener.NewFD(orExit(unix.PidfdOpen(os.Getpid(), 0)))
	p, err := fdpass.NewProcess(pidfd)
	if err != nil {
		pidfd.Close()
		fmt.Println(err)
		return
	}
	defer p.Close() // closes pidfd
	fmt.Println(p.PID() == os.Getpid())
	// Output: true
}

func ExampleProcess_PID() {
	p := orExit(fdpass.OpenProcess(os.Getpid()))
	defer p.Close()
	fmt.Println(p.PID() == os.Getpid())
	// Output: true
}

// What was seen under /proc/PID was this process's if it is alive afterwards.
func ExampleProcess_Alive() {
	p := orExit(fdpass.OpenProcess(os.Getpid()))
	defer p.Close()
	name := orExit(os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID())))
	if err := p.Alive(); err != nil {
		fmt.Println("that was perhaps another process:", err)
		return
	}
	fmt.Println(len(name) > 0)
	// Output: true
}

func ExampleProcess_Get() {
	theirs := listening()
	defer theirs.Close()
	p := orExit(fdpass.OpenProcess(os.Getpid()))
	defer p.Close()

	fd, err := p.Get(number(theirs))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fd.Close() // theirs stays open
	fmt.Println(orExit(listener.Describe(fd)).Same(orExit(listener.Describe(theirs))))
	_, err = p.Get(1 << 20)
	fmt.Println(errors.Is(err, fdpass.ErrNotOpen))
	// Output:
	// true
	// true
}

func ExampleProcess_GetAll() {
	a, b := listening(), listening()
	defer a.Close()
	defer b.Close()
	p := orExit(fdpass.OpenProcess(os.Getpid()))
	defer p.Close()

	fds, err := p.GetAll([]int{number(a), number(b)}) // all of them, or none
	if err != nil {
		fmt.Println(err)
		return
	}
	defer closeAll(fds)
	fmt.Println(len(fds))
	// Output: 2
}

// The number was seen with a certain socket; by now it could mean another one.
func ExampleProcess_GetInode() {
	theirs := listening()
	defer theirs.Close()
	p := orExit(fdpass.OpenProcess(os.Getpid()))
	defer p.Close()

	seen := orExit(listener.Describe(theirs)).Ino // in /proc/PID/fd and /proc/net/tcp
	fd, err := p.GetInode(number(theirs), seen)
	fmt.Println(err, fd.Close())
	_, err = p.GetInode(number(theirs), seen+1)
	fmt.Println(errors.Is(err, fdpass.ErrChanged))
	// Output:
	// <nil> <nil>
	// true
}

// A file gets a second open file description; a socket cannot have one.
func ExampleProcess_Reopen() {
	n := orExit(unix.MemfdCreate("memfd", unix.MFD_CLOEXEC))
	theirs := listener.NewFD(n)
	defer theirs.Close()
	_, _ = unix.Write(n, []byte("text"))
	p := orExit(fdpass.OpenProcess(os.Getpid()))
	defer p.Close()

	fd, err := p.Reopen(n, os.O_RDONLY)
	if err != nil {
		fmt.Println(err)
		return
	}
	f := fd.File("memfd")
	defer f.Close()
	fmt.Printf("%s\n", orExit(io.ReadAll(f))) // from the start: the offset is its own

	socket := listening()
	defer socket.Close()
	_, err = p.Reopen(number(socket), os.O_RDWR)
	fmt.Println(errors.Is(err, fdpass.ErrSocket))
	// Output:
	// text
	// true
}

func ExampleProcess_Close() {
	theirs := listening()
	defer theirs.Close()
	p := orExit(fdpass.OpenProcess(os.Getpid()))
	fd := orExit(p.Get(number(theirs)))
	fmt.Println(p.Close(), p.Close(), fd.Close()) // what was taken stays open
	// Output: <nil> <nil> <nil>
}

// What was received shares its offset with the sender, until it is opened again.
func ExampleReopen() {
	received := orExit(os.CreateTemp("", ""))
	defer received.Close()
	_ = os.Remove(received.Name()) // deleted is no obstacle
	_, _ = received.WriteString("text")

	fd, err := fdpass.Reopen(received, os.O_RDONLY)
	if err != nil {
		fmt.Println(err)
		return
	}
	f := fd.File("own")
	defer f.Close()
	fmt.Printf("%s\n", orExit(io.ReadAll(f)))
	// Output: text
}
