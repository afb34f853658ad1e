package fdpass_test

import (
	"fmt"
	"log"

	"github.com/segue-go/segue/handoff/fdpass"
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// eventfds returns n descriptors.
func eventfds(n int) []*listener.FD {
	fds := make([]*listener.FD, n)
	for i := range fds {
		fds[i] = listener.NewFD(orExit(unix.Eventfd(0, unix.EFD_CLOEXEC)))
	}
	return fds
}

func closeAll(fds []*listener.FD) {
	for _, fd := range fds {
		_ = fd.Close()
	}
}

// More descriptors than one message carries, in order.
func ExampleSendAll() {
	a, b := pair()
	defer a.Close()
	defer b.Close()
	fds := eventfds(300)
	defer closeAll(fds)
	sent := make(chan error)
	go func() { sent <- fdpass.SendAll(a, []byte("300 of them"), fds) }()

	m, err := fdpass.RecvAll(b, make([]byte, 64), 1000)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	fmt.Println(string(m.Payload), len(m.FDs), <-sent)
	// Output: 300 of them 300 <nil>
}

// What Send sent can be received too.
func ExampleRecvAll() {
	a, b := pair()
	defer a.Close()
	defer b.Close()
	_ = fdpass.Send(a, []byte("one"), a)
	m, err := fdpass.RecvAll(b, make([]byte, 64), 10)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	fmt.Println(string(m.Payload), len(m.FDs))
	// Output: one 1
}
