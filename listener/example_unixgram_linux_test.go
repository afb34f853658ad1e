package listener_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func ExampleUnixgramConn_Pause() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	check(p.Pause())
	_, err := p.WriteTo([]byte("answer"), p.LocalAddr())
	fmt.Println("write:", err)
	check(p.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, _, err = p.ReadFrom(make([]byte, 10))
	fmt.Println("read:", errors.Is(err, os.ErrDeadlineExceeded))
	// Output:
	// write: <nil>
	// read: true
}

func ExampleUnixgramConn_Open() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	check(p.Pause())
	read := make(chan int)
	go func() { n, _, _ := p.ReadFrom(make([]byte, 10)); read <- n }() // waits
	check(p.Open())
	fmt.Println(<-read)
	// Output: 5
}

func ExampleUnixgramConn_Park() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	fmt.Println(p.Park(), p.Open())
	// Output: <nil> <nil>
}

func ExampleUnixgramConn_Arm() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	fmt.Println(p.Arm()) // there is nothing to do
	// Output: <nil>
}

func ExampleUnixgramConn_SetDeadline() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	check(p.SetDeadline(time.Unix(1, 0)))
	_, err := p.Read(make([]byte, 10))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	// Output: true
}

func ExampleUnixgramConn_SetReadDeadline() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	check(p.Pause())
	check(p.SetReadDeadline(time.Now())) // holds while paused, too
	_, err := p.Read(make([]byte, 10))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	// Output: true
}

func ExampleUnixgramConn_SyscallConn() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	check(p.Pause()) // Control is free all the same
	fmt.Println(control(p) == unix.SOCK_DGRAM)
	// Output: true
}

func ExampleUnixgramConn_File() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	f, err := p.File() // a copy, for the caller to close
	fmt.Println(err, f.Close())
	// Output: <nil> <nil>
}

func ExampleUnixgramConn_Close() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	path := p.LocalAddr().String()
	fmt.Println(p.Close(), exists(path), errors.Is(p.Close(), net.ErrClosed))
	// Output: <nil> false true
}

// Another process holds the socket now, so the file stays.
func ExampleUnixgramConn_Discard() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	path := p.LocalAddr().String()
	fmt.Println(p.Discard(), exists(path))
	// Output: <nil> true
}

func ExampleUnixgramConn_SetUnlinkOnClose() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	path := p.LocalAddr().String()
	p.SetUnlinkOnClose(false)
	fmt.Println(p.Close(), exists(path))
	// Output: <nil> true
}

func ExampleUnixgramConn_UnlinkOnClose() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	fmt.Println(p.UnlinkOnClose())
	// Output: true
}
