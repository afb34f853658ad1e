package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/listener"
)

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

// legacy starts a process that knows nothing of segue and listens on one TCP port of 127.0.0.1. wait waits until it has
// ended, end ends it.
func legacy() (pid int, address string, wait func() error, end func()) {
	cmd := exec.Command("/proc/self/exe", "tcp/127.0.0.1:0")
	// A process with the race detector waits for a second when it ends, unless it is told not to.
	cmd.Env = append(os.Environ(), envRole+"=hold", "GOCOVERDIR="+os.TempDir(), "GORACE=atexit_sleep_ms=0")
	in := orExit(cmd.StdinPipe())
	out := orExit(cmd.StdoutPipe())
	okay(cmd.Start())
	line := orExit(bufio.NewReader(out).ReadString('\n'))
	address = strings.TrimSpace(strings.TrimPrefix(line, "holds "))
	return cmd.Process.Pid, address, cmd.Wait, func() {
		_ = in.Close() // it ends with its standard input
		_ = cmd.Wait()
	}
}

// A pidfd is held, so that the number cannot come to mean another process.
func ExampleOpen() {
	pid, _, _, end := legacy()
	p, err := process.Open(pid)
	fmt.Println(err)
	defer p.Close()
	end()

	_, err = process.Open(pid)
	fmt.Println(errors.Is(err, process.ErrGone))
	// Output:
	// <nil>
	// true
}

func ExampleProcess_PID() {
	p := orExit(process.Open(os.Getpid()))
	defer p.Close()
	fmt.Println(p.PID() == os.Getpid())
	// Output: true
}

func ExampleProcess_Alive() {
	pid, _, _, end := legacy()
	p := orExit(process.Open(pid))
	defer p.Close()
	fmt.Println(p.Alive())
	end()
	fmt.Println(errors.Is(p.Alive(), process.ErrGone))
	// Output:
	// <nil>
	// true
}

func ExampleProcess_List() {
	pid, address, _, end := legacy()
	defer end()
	p := orExit(process.Open(pid))
	defer p.Close()
	for _, s := range orExit(p.List(context.Background())) {
		fmt.Println(s.Network, s.Address == address, s.Listening, s.Holders[0].PID == pid)
	}
	// Output: tcp true true true
}

func ExampleProcess_Signal() {
	pid, _, wait, end := legacy()
	defer end()
	p := orExit(process.Open(pid))
	defer p.Close()
	okay(p.Signal(syscall.SIGTERM))
	fmt.Println(wait())
	// Output: signal: terminated
}

// The process goes on, and what was taken stays open.
func ExampleProcess_Close() {
	pid, _, _, end := legacy()
	defer end()
	p := orExit(process.Open(pid))
	fd := orExit(p.Take(orExit(p.List(context.Background()))[0]))
	defer fd.Close()
	fmt.Println(p.Close(), p.Close())
	fmt.Println(orExit(listener.Describe(fd)).Listening)
	// Output:
	// <nil> <nil>
	// true
}

func ExampleSocket_String() {
	fmt.Println(process.Socket{Network: "tcp", Address: "0.0.0.0:80", Holders: []process.Holder{
		{PID: 4711, Command: "nginx", FDs: []int{6}},
		{PID: 4712, Command: "nginx", FDs: []int{6}},
	}})
	// Output: tcp 0.0.0.0:80 (nginx 4711, nginx 4712)
}

// A program that would bind 127.0.0.1:80 itself, beside the process's [::]:80, would take clients away from it.
func ExampleNoSocketError_Error() {
	have := []process.Socket{{Network: "tcp", Address: "[::]:80"}}
	err := &process.NoSocketError{PID: 4711, Network: "tcp", Address: "127.0.0.1:80", Have: have}
	fmt.Println(err)
	// Output: process 4711 has no socket for tcp/127.0.0.1:80; ask for one that it has: tcp/[::]:80
}

// A generation asks its Source in this way when the program calls Listen. Each socket is given once.
func ExampleSource_Open() {
	ctx := context.Background()
	pid, address, _, end := legacy()
	defer end()
	src := process.Sockets(pid, process.Options{})
	defer src.Close()
	fd := orExit(src.Open(ctx, "", "tcp", address))
	defer fd.Close()
	fmt.Println(orExit(listener.Describe(fd)).Address == address)

	none, err := src.Open(ctx, "", "udp", address)
	fmt.Println(none == nil, err)
	// Output:
	// true
	// true <nil>
}

// The process gets its signal once the generation that took its sockets serves and will not hand them back, of which
// Settled tells the Source.
func ExampleSource_Settled() {
	pid, address, wait, end := legacy()
	defer end()
	src := process.Sockets(pid, process.Options{Signal: syscall.SIGTERM})
	defer src.Close()
	fd := orExit(src.Open(context.Background(), "", "tcp", address))
	defer fd.Close()
	src.Settled() // as a generation does in Ready, if it has no predecessor
	fmt.Println(wait())
	// Output: signal: terminated
}

// Close before the generation serves means that the process is not told to end.
func ExampleSource_Close() {
	pid, _, _, end := legacy()
	defer end()
	src := process.Sockets(pid, process.Options{Signal: syscall.SIGTERM})
	fmt.Println(src.Close(), src.Close())
	fmt.Println(orExit(process.Open(pid)).Close())
	// Output:
	// <nil> <nil>
	// <nil>
}

// A generation that finds an incumbent which does not answer takes its sockets and its place. Usually there is none.
func ExampleRescue() {
	dir := orExit(os.MkdirTemp("", "segue"))
	defer os.RemoveAll(dir)
	c := handoff.Config{Path: filepath.Join(dir, "segue.sock"), Rescue: process.Rescue}
	gen, err := handoff.Join(context.Background(), c)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(gen.Status().Generation, gen.Close())
	// Output: 1 <nil>
}

// What Join does with it: the Source gives the sockets to whoever listens on their addresses, and closes the rest.
func ExampleRescue_source() {
	ctx := context.Background()
	dir := orExit(os.MkdirTemp("", "segue"))
	defer os.RemoveAll(dir)
	incumbent := orExit(handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "segue.sock")})) // in another process, usually
	defer incumbent.Close()
	ln := orExit(incumbent.Listen(ctx, "tcp", "127.0.0.1:0"))

	src := orExit(process.Rescue(ctx, handoff.Peer{PID: os.Getpid()}))
	defer src.Phase(handoff.PhaseServing, handoff.PhaseStopped)
	fd := orExit(src.Open(ctx, "", "tcp", ln.Addr().String()))
	defer fd.Close()
	fmt.Println(orExit(listener.Describe(fd)).Listening)
	// Output: true
}
