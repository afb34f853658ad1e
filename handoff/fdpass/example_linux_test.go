package fdpass_test

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// orExit keeps the examples short. A program handles its errors.
func orExit[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// pair returns two ends of a connection. In a program the other one is in another process.
func pair() (a, b *net.UnixConn) {
	nums := orExit(unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))
	conn := func(n int) *net.UnixConn {
		f := os.NewFile(uintptr(n), "pair")
		defer f.Close()
		return orExit(net.FileConn(f)).(*net.UnixConn)
	}
	return conn(nums[0]), conn(nums[1])
}

// A listening socket moves. The copy that the receiver gets is the same socket, with the same queue.
func ExampleSend() {
	a, b := pair()
	defer a.Close()
	defer b.Close()
	ln := orExit(net.Listen("tcp", "127.0.0.1:0")).(*net.TCPListener)
	if err := fdpass.Send(a, []byte("the public port"), ln); err != nil {
		log.Fatal(err)
	}
	ln.Close() // Send has borrowed it; the socket lives on in the message

	m := orExit(fdpass.Recv(b, make([]byte, 64)))
	defer m.Close()
	info := orExit(listener.Describe(m.FDs[0]))
	fmt.Printf("%s: %s, listening: %v\n", m.Payload, info.Network, info.Listening)
	// Output: the public port: tcp, listening: true
}

func ExampleRecv() {
	a, b := pair()
	defer b.Close()
	f := orExit(os.Open("/dev/null"))
	defer f.Close()
	_ = fdpass.Send(a, []byte("x"), f, f)
	a.Close()

	m, err := fdpass.Recv(b, make([]byte, 64))
	if err != nil {
		log.Fatal(err) // nothing has been received
	}
	defer m.Close() // closes what is not taken out
	fmt.Println(len(m.FDs))
	mine := m.FDs[0].File("null")
	m.FDs[0] = nil
	fmt.Println(mine.Close())

	_, err = fdpass.Recv(b, make([]byte, 64))
	fmt.Println(err)
	// Output:
	// 2
	// <nil>
	// EOF
}

// A last look after a deadline: what was queued before counts.
func ExampleTryRecv() {
	a, b := pair()
	defer a.Close()
	defer b.Close()
	_, err := fdpass.TryRecv(b, make([]byte, 64))
	fmt.Println(errors.Is(err, fdpass.ErrWouldBlock))
	_ = fdpass.Send(a, []byte("hello"))
	fmt.Println(string(orExit(fdpass.TryRecv(b, make([]byte, 64))).Payload))
	// Output:
	// true
	// hello
}

// The kernel says who sent a message.
func ExamplePassCred() {
	a, b := pair()
	defer a.Close()
	defer b.Close()
	if err := fdpass.PassCred(b, true); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		log.Fatal(err)
	}
	_ = fdpass.Send(a, []byte("hello"))
	m := orExit(fdpass.Recv(b, make([]byte, 64)))
	defer m.Close()
	fmt.Println(m.Cred.PID == os.Getpid(), m.Cred.UID == uint32(os.Getuid()))
	// m.PidFD is of the same process, from Linux 6.5 on.

	// Output: true true
}

func ExampleMessage_Close() {
	a, b := pair()
	defer a.Close()
	defer b.Close()
	_ = fdpass.Send(a, []byte("surplus"), a)
	m := orExit(fdpass.Recv(b, make([]byte, 64)))
	m.Close() // nobody asked for it
	fmt.Println(len(m.FDs))
	// Output: 0
}
