package listener_test

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/segue-go/segue/listener"
)

// must keeps the examples short. A program handles its errors.
func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// paused returns a listener that nobody has opened yet.
func paused() *listener.Listener {
	return must(listener.New(must(net.Listen("tcp", "127.0.0.1:0")), listener.Options{}))
}

// dial connects to l, and says hello.
func dial(l net.Listener) net.Conn {
	c := must(net.Dial(l.Addr().Network(), l.Addr().String()))
	must(fmt.Fprint(c, "hello"))
	return c
}

// hear reads what dial said, and closes c.
func hear(c net.Conn) string {
	defer c.Close()
	b := make([]byte, 5)
	must(c.Read(b))
	return string(b)
}

func ExampleNew() {
	inner := must(net.Listen("tcp", "127.0.0.1:0"))
	l, err := listener.New(inner, listener.Options{})
	if err != nil {
		inner.Close() // on error it stays the caller's
		log.Fatal(err)
	}
	defer l.Close()
	check(l.Open()) // it starts paused

	defer dial(l).Close()
	c, err := l.Accept()
	fmt.Println(hear(c), err)
	// Output: hello <nil>
}

func ExampleListener_Open() {
	l := paused()
	defer l.Close()
	accepted := make(chan string)
	go func() { accepted <- hear(must(l.Accept())) }() // blocks: the listener is paused

	defer dial(l).Close() // the kernel queues the connection
	check(l.Open())
	fmt.Println(<-accepted)
	// Output: hello
}

func ExampleListener_Pause() {
	l := paused()
	defer l.Close()
	check(l.Open())
	check(l.Pause()) // from here on nobody accepts, and whoever calls Accept sees no error
	defer dial(l).Close()
	check(l.SetDeadline(time.Now().Add(10 * time.Millisecond)))
	_, err := l.Accept()
	fmt.Println("while paused:", errors.Is(err, os.ErrDeadlineExceeded))

	check(l.SetDeadline(time.Time{}))
	check(l.Open())
	fmt.Println("then:", hear(must(l.Accept())))
	// Output:
	// while paused: true
	// then: hello
}

func ExampleListener_Accept() {
	l := paused()
	check(l.Open())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return // the only end: to be paused is no error
			}
			check(err)
			fmt.Printf("%T says %s\n", c, hear(c))
			check(l.Close())
		}
	}()
	defer dial(l).Close()
	<-ended
	// Output: *net.TCPConn says hello
}

func ExampleListener_SetDeadline() {
	l := paused()
	defer l.Close()
	check(l.SetDeadline(time.Now().Add(time.Millisecond))) // holds while paused, too
	_, err := l.Accept()
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	// Output: true
}

func ExampleListener_Addr() {
	l := paused()
	check(l.Close())
	fmt.Println(l.Addr().Network()) // also after Close
	// Output: tcp
}

func ExampleListener_Queued() {
	l := paused()
	defer l.Close()
	defer dial(l).Close()
	c, err := l.Queued()
	fmt.Println(hear(c), err)
	_, err = l.Queued()
	fmt.Println(errors.Is(err, listener.ErrEmpty))
	// Output:
	// hello <nil>
	// true
}

// Nobody is going to serve this address any more, but who has connected already is served.
func ExampleListener_Retire() {
	l := paused()
	defer l.Close()
	defer dial(l).Close()
	check(l.Retire())
	fmt.Println(hear(must(l.Accept())))
	_, err := net.Dial("tcp", l.Addr().String())
	fmt.Println("others are refused:", err != nil)
	// Output:
	// hello
	// others are refused: true
}

// Another process goes on to serve this address: the descriptor is let go of, the queue is left alone.
func ExampleListener_Vacate() {
	l := paused()
	defer l.Close()
	check(l.Vacate())
	fmt.Println("it does not come back:", errors.Is(l.Open(), net.ErrClosed))
	// Output: it does not come back: true
}

func ExampleListener_Close() {
	l := paused()
	ended := make(chan error)
	go func() { _, err := l.Accept(); ended <- err }()
	fmt.Println(l.Close(), errors.Is(<-ended, net.ErrClosed), errors.Is(l.Close(), net.ErrClosed))
	// Output: <nil> true true
}

func ExampleListener_SyscallConn() {
	l := paused()
	defer l.Close()
	raw := must(l.SyscallConn())
	check(raw.Control(func(fd uintptr) { // fd must not leave this function
		fmt.Println(fd > 2)
	}))
	// Output: true
}
