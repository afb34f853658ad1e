package listener_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// newUDP returns a socket that is open, with one datagram waiting.
func newUDP() *listener.UDPConn {
	p := must(listener.NewPacket(must(net.ListenPacket("udp", "127.0.0.1:0")), listener.Options{})).(*listener.UDPConn)
	check(p.Open())
	must(p.WriteTo([]byte("hello"), p.LocalAddr())) // to itself
	return p
}

func ExampleNewPacket() {
	inner := must(net.ListenPacket("udp", "127.0.0.1:0"))
	p, err := listener.NewPacket(inner, listener.Options{})
	if err != nil {
		inner.Close() // on error it stays the caller's
		return
	}
	defer p.Close()
	check(p.Open()) // it starts paused
	must(p.WriteTo([]byte("hello"), p.LocalAddr()))
	b := make([]byte, 10)
	n, _, err := p.ReadFrom(b)
	fmt.Println(string(b[:n]), err)
	// Output: hello <nil>
}

func ExamplePacketFromFD() {
	inner := must(net.ListenPacket("udp", "127.0.0.1:0")).(*net.UDPConn)
	fd := must(listener.Dup(inner)) // inherited, say
	inner.Close()
	p, err := listener.PacketFromFD(fd, listener.Options{})
	if err != nil {
		fd.Close() // on error it stays the caller's
		return
	}
	fmt.Printf("%T %v\n", p, p.Close())
	// Output: *listener.UDPConn <nil>
}

func ExampleUDPConn_Read() {
	p := newUDP()
	defer p.Close()
	b := make([]byte, 10)
	n, err := p.Read(b)
	fmt.Println(string(b[:n]), err)
	// Output: hello <nil>
}

func ExampleUDPConn_ReadFrom() {
	p := newUDP()
	defer p.Close()
	b := make([]byte, 10)
	n, from, err := p.ReadFrom(b)
	fmt.Println(string(b[:n]), from.String() == p.LocalAddr().String(), err)
	// Output: hello true <nil>
}

func ExampleUDPConn_ReadFromUDP() {
	p := newUDP()
	defer p.Close()
	b := make([]byte, 10)
	n, from, err := p.ReadFromUDP(b)
	fmt.Println(string(b[:n]), from.IP, err)
	// Output: hello 127.0.0.1 <nil>
}

func ExampleUDPConn_ReadFromUDPAddrPort() {
	p := newUDP()
	defer p.Close()
	b := make([]byte, 10)
	n, from, err := p.ReadFromUDPAddrPort(b)
	fmt.Println(string(b[:n]), from.Addr().Unmap(), err)
	// Output: hello 127.0.0.1 <nil>
}

func ExampleUDPConn_ReadMsgUDP() {
	p := newUDP()
	defer p.Close()
	b := make([]byte, 10)
	n, oobn, _, from, err := p.ReadMsgUDP(b, nil)
	fmt.Println(string(b[:n]), oobn, from.IP, err)
	// Output: hello 0 127.0.0.1 <nil>
}

func ExampleUDPConn_ReadMsgUDPAddrPort() {
	p := newUDP()
	defer p.Close()
	b := make([]byte, 10)
	n, oobn, _, from, err := p.ReadMsgUDPAddrPort(b, nil)
	fmt.Println(string(b[:n]), oobn, from.Addr().Unmap(), err)
	// Output: hello 0 127.0.0.1 <nil>
}

// Reads wait while the socket is paused. Writes do not: a superseded generation answers what it has read.
func ExampleUDPConn_Pause() {
	p := newUDP()
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

func ExampleUDPConn_Open() {
	p := newUDP()
	defer p.Close()
	check(p.Pause())
	read := make(chan int)
	go func() { n, _, _ := p.ReadFrom(make([]byte, 10)); read <- n }() // waits
	check(p.Open())
	fmt.Println(<-read)
	// Output: 5
}

// A packet socket stays in the poller, since writes go on.
func ExampleUDPConn_Park() {
	p := newUDP()
	defer p.Close()
	fmt.Println(p.Park(), p.Arm(), p.Open())
	// Output: <nil> <nil> <nil>
}

func ExampleUDPConn_Arm() {
	p := newUDP()
	defer p.Close()
	fmt.Println(p.Arm()) // there is nothing to do
	// Output: <nil>
}

func ExampleUDPConn_SetDeadline() {
	p := newUDP()
	defer p.Close()
	check(p.SetDeadline(time.Unix(1, 0)))
	_, err := p.Read(make([]byte, 10))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	// Output: true
}

func ExampleUDPConn_SetReadDeadline() {
	p := newUDP()
	defer p.Close()
	check(p.Pause())
	check(p.SetReadDeadline(time.Now())) // holds while paused, too
	_, err := p.Read(make([]byte, 10))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	// Output: true
}

func ExampleUDPConn_SyscallConn() {
	p := newUDP()
	defer p.Close()
	check(p.Pause()) // Control is free all the same
	fmt.Println(control(p) == unix.SOCK_DGRAM)
	// Output: true
}

func ExampleUDPConn_File() {
	p := newUDP()
	defer p.Close()
	f, err := p.File() // a copy, for the caller to close
	fmt.Println(err, f.Close())
	// Output: <nil> <nil>
}

func ExampleUDPConn_Close() {
	p := newUDP()
	fmt.Println(p.Close(), errors.Is(p.Close(), net.ErrClosed))
	// Output: <nil> true
}

func ExampleUDPConn_Discard() {
	p := newUDP()
	fmt.Println(p.Discard()) // there is no file that Close would remove
	// Output: <nil>
}

func ExampleUDPConn_SetUnlinkOnClose() {
	p := newUDP()
	defer p.Close()
	p.SetUnlinkOnClose(true)
	fmt.Println(p.UnlinkOnClose()) // there is no file
	// Output: false
}

func ExampleUDPConn_UnlinkOnClose() {
	p := newUDP()
	defer p.Close()
	fmt.Println(p.UnlinkOnClose())
	// Output: false
}

// newUnixgram returns a socket in d that is open, with one datagram waiting.
func newUnixgram(d string) *listener.UnixgramConn {
	path := filepath.Join(d, "sock")
	inner := must(net.ListenPacket("unixgram", path))
	o := listener.Options{Unlink: must(listener.StatUnixPath(path))}
	p := must(listener.NewPacket(inner, o)).(*listener.UnixgramConn)
	check(p.Open())
	must(p.WriteTo([]byte("hello"), p.LocalAddr())) // to itself
	return p
}

func ExampleUnixgramConn_Read() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	b := make([]byte, 10)
	n, err := p.Read(b)
	fmt.Println(string(b[:n]), err)
	// Output: hello <nil>
}

func ExampleUnixgramConn_ReadFrom() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	b := make([]byte, 10)
	n, from, err := p.ReadFrom(b)
	fmt.Println(string(b[:n]), from.String() == p.LocalAddr().String(), err)
	// Output: hello true <nil>
}

func ExampleUnixgramConn_ReadFromUnix() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	b := make([]byte, 10)
	n, from, err := p.ReadFromUnix(b)
	fmt.Println(string(b[:n]), from.Net, err)
	// Output: hello unixgram <nil>
}

func ExampleUnixgramConn_ReadMsgUnix() {
	d, remove := dir()
	defer remove()
	p := newUnixgram(d)
	defer p.Close()
	b := make([]byte, 10)
	n, oobn, _, _, err := p.ReadMsgUnix(b, nil)
	fmt.Println(string(b[:n]), oobn, err)
	// Output: hello 0 <nil>
}
