package listener_test

import (
	"fmt"
	"net"

	"github.com/segue-go/segue/listener"
)

// A listener that had been given up serves again, at the same address. Whoever calls Accept has noticed nothing.
func ExampleListener_Reset() {
	l := paused()
	defer l.Close()
	check(l.Retire()) // the socket is closed, the listener is not
	accepted := make(chan string)
	go func() { accepted <- hear(must(l.Accept())) }() // blocks

	fresh := must(net.Listen("tcp", l.Addr().String()))
	if err := l.Reset(fresh, nil); err != nil {
		fresh.Close() // on error it stays the caller's
		return
	}
	check(l.Open()) // it starts paused
	defer dial(l).Close()
	fmt.Println(<-accepted)
	// Output: hello
}

// The file that the new socket's bind has made is the one that Close removes.
func ExampleListener_Reset_unix() {
	d, remove := dir()
	defer remove()
	l, path := onPath(d)
	check(l.Retire())
	check(must(listener.StatUnixPath(path)).Unlink())

	check(l.Reset(must(net.Listen("unix", path)), must(listener.StatUnixPath(path))))
	fmt.Println(exists(path), l.Close(), exists(path))
	// Output: true <nil> false
}
