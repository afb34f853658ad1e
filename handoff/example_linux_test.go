package handoff_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/segue-go/segue/handoff"
)

// The examples have two generations in one process, which is how a program can test itself.

// orExit and okay keep the examples short. A program handles its errors.
func orExit[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func okay(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// exampleChain returns a context and what makes the next generation, all on one path; done ends them, newest first.
func exampleChain(guard time.Duration) (ctx context.Context, next func() *handoff.Generation, done func()) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	dir := orExit(os.MkdirTemp("", "segue"))
	var gens []*handoff.Generation
	next = func() *handoff.Generation {
		c := handoff.Config{Path: filepath.Join(dir, "segue.sock"), Guard: guard}
		g := orExit(handoff.Join(ctx, c))
		gens = append(gens, g)
		return g
	}
	return ctx, next, func() {
		for i := len(gens) - 1; i >= 0; i-- {
			okay(gens[i].Close())
		}
		cancel()
		okay(os.RemoveAll(dir))
	}
}

func ExampleJoin() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute) // a program's ends on SIGTERM
	defer stop()
	dir := orExit(os.MkdirTemp("", "segue"))
	defer os.RemoveAll(dir)

	for range 2 { // whoever comes second takes over
		gen, err := handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "segue.sock")})
		if err != nil {
			log.Fatal(err)
		}
		defer gen.Close()
		orExit(gen.Listen(ctx, "tcp", "127.0.0.1:0")) // inherited, or bound afresh
		okay(gen.Ready(ctx))
		fmt.Println("generation", gen.Status().Generation)
	}
	// Output:
	// generation 1
	// generation 2
}

// A server that listens on port 0 keeps its port.
func ExampleGeneration_Listen() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	first := next()
	l1 := orExit(first.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(first.Ready(ctx))

	second := next()
	l2 := orExit(second.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(second.Ready(ctx))
	fmt.Println("the same address:", l1.Addr().String() == l2.Addr().String())

	client := orExit(net.Dial("tcp", l1.Addr().String()))
	defer client.Close()
	server := orExit(l2.Accept())
	fmt.Printf("%T\n", server)
	okay(server.Close())
	// Output:
	// the same address: true
	// *net.TCPConn
}

// The name is what a successor finds the socket by, together with the network and the address.
func ExampleGeneration_ListenAs() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	first := next()
	orExit(first.ListenAs(ctx, "public", "tcp", "127.0.0.1:0", nil))
	okay(first.Ready(ctx))
	fmt.Println(first.Status().Sockets[0].Name)

	second := next()
	orExit(second.ListenAs(ctx, "public", "tcp", "127.0.0.1:0", nil))
	fmt.Println(second.Status().Sockets[0].Inherited)
	// Output:
	// public
	// true
}

// Each datagram is read by exactly one generation.
func ExampleGeneration_ListenPacket() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	first := next()
	c1 := orExit(first.ListenPacket(ctx, "udp", "127.0.0.1:0"))
	okay(first.Ready(ctx))
	client := orExit(net.Dial("udp", c1.LocalAddr().String()))
	defer client.Close()
	orExit(client.Write([]byte("sent before the switch")))

	second := next()
	c2 := orExit(second.ListenPacket(ctx, "udp", "127.0.0.1:0"))
	okay(second.Ready(ctx))
	b := make([]byte, 64)
	n, _, err := c2.ReadFrom(b)
	fmt.Println(string(b[:n]), err)
	// Output: sent before the switch <nil>
}

// The result has the methods of *net.UDPConn.
func ExampleGeneration_ListenPacketAs() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	c := orExit(next().ListenPacketAs(ctx, "dns", "udp", "127.0.0.1:0", nil))
	_, ok := c.(interface{ SetReadBuffer(int) error })
	fmt.Println(ok)
	// Output: true
}

// A successor goes on where its predecessor is: both share the offset.
func ExampleGeneration_File() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	open := func() (*os.File, error) { return os.CreateTemp("", "journal") }
	first := next()
	f1 := orExit(first.File(ctx, "journal", open))
	defer os.Remove(f1.Name())
	defer f1.Close()
	okay(first.Ready(ctx))
	orExit(f1.WriteString("first,"))

	second := next()
	f2 := orExit(second.File(ctx, "journal", open))
	defer f2.Close()
	orExit(f2.WriteString("second"))
	orExit(f2.Seek(0, io.SeekStart))
	fmt.Println(string(orExit(io.ReadAll(f2))))
	// Output: first,second
}

// Accept blocks until Ready. An Accept of the predecessor blocks from then on, and ends when its Wait has returned.
func ExampleGeneration_Ready() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	gen := next()
	ln := orExit(gen.Listen(ctx, "tcp", "127.0.0.1:0"))
	accepted := make(chan net.Conn)
	go func() { accepted <- orExit(ln.Accept()) }()
	client := orExit(net.Dial("tcp", ln.Addr().String())) // is in the queue
	defer client.Close()
	fmt.Println(gen.Status().Phase)
	okay(gen.Ready(ctx))
	okay((<-accepted).Close())
	fmt.Println(gen.Status().Phase)
	// Output:
	// starting
	// serving
}

// Wait returns nil when a successor has taken over and the drain function has returned.
func ExampleGeneration_Wait() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	first := next()
	ln := orExit(first.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(first.Ready(ctx))
	ended := make(chan error)
	go func() {
		ended <- first.Wait(ctx, func(ctx context.Context) error {
			fmt.Println("draining")
			return nil // our connections are gone
		})
	}()

	second := next()
	orExit(second.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(second.Ready(ctx))
	fmt.Println("done:", <-ended)
	_, err := ln.Accept()
	fmt.Println(errors.Is(err, net.ErrClosed))
	// Output:
	// draining
	// done: <nil>
	// true
}

// What cannot be undone, such as gRPC's GracefulStop, waits until there can be no revival.
func ExampleGeneration_Released() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	first := next()
	okay(first.Ready(ctx))
	ended := make(chan error)
	go func() {
		ended <- first.Wait(ctx, func(ctx context.Context) error {
			select {
			case <-first.Released():
				fmt.Println("for good")
				return nil
			case <-ctx.Done(): // revived, or out of time
				return ctx.Err()
			}
		})
	}()
	okay(next().Ready(ctx))
	fmt.Println(<-ended)
	// Output:
	// for good
	// <nil>
}

func ExampleGeneration_Status() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	gen := next()
	orExit(gen.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(gen.Ready(ctx))
	s := gen.Status()
	fmt.Println(s.Generation, s.Phase, s.PID == os.Getpid(), s.Predecessor, s.Successor)
	fmt.Println(s.Sockets[0].Name, s.Sockets[0].Kind, s.Sockets[0].Inherited)
	// Output:
	// 1 serving true 0 0
	// tcp/127.0.0.1:0 listener false
}

// A new version that fails in start-up changes nothing, and the error says how it failed.
func ExampleGeneration_Upgrade() {
	ctx := context.Background()
	null := orExit(os.OpenFile(os.DevNull, os.O_WRONLY, 0))
	defer null.Close()
	gen := orExit(handoff.Join(ctx, handoff.Config{
		Command: func() *exec.Cmd { // by default this program, with its arguments
			cmd := exec.Command("sh", "-c", "echo no such table: users; exit 3")
			cmd.Stdout = null // by default this process's own
			return cmd
		},
	}))
	defer gen.Close()
	okay(gen.Ready(ctx))

	err := gen.Upgrade(ctx)
	var child *handoff.ChildError
	if errors.As(err, &child) {
		fmt.Println(child.Exit.Code, "after:", child.Output)
	}
	fmt.Println(gen.Status().Phase)
	// Output:
	// 3 after: no such table: users
	// serving
}

// It is zero in the Config, and a minute by default.
func ExampleGeneration_DrainTimeout() {
	_, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	fmt.Println(next().DrainTimeout())
	// Output: 1m0s
}

// A generation that is closed before Ready leaves everything with its predecessor.
func ExampleGeneration_Close() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	first := next()
	ln := orExit(first.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(first.Ready(ctx))
	second := next()
	fmt.Println(second.Close(), second.Close(), second.Status().Phase)

	client := orExit(net.Dial("tcp", ln.Addr().String()))
	defer client.Close()
	server, err := ln.Accept()
	fmt.Println(err, server.Close())
	// Output:
	// <nil> <nil> stopped
	// <nil> <nil>
}

// A generation that finds that it cannot serve gives the sockets back, as long as its predecessor guards them.
func ExampleGeneration_Fail() {
	ctx, next, done := exampleChain(time.Minute)
	defer done()
	first := next()
	ln := orExit(first.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(first.Ready(ctx))
	second := next()
	orExit(second.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(second.Ready(ctx))
	okay(second.Fail(errors.New("the database is not there")))
	fmt.Println(second.Wait(ctx, nil))

	client := orExit(net.Dial("tcp", ln.Addr().String()))
	defer client.Close()
	okay(orExit(ln.Accept()).Close())
	fmt.Println("the first serves again")
	// Output:
	// handoff: wait (stopped): sockets handed back to the predecessor: the database is not there
	// the first serves again
}
