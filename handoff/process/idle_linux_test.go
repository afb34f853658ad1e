package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/process"
)

// roleInherit accepts a connection from the socket that it was given as descriptor 3, and holds it until its standard
// input ends.
func roleInherit([]string) int {
	ln, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer ln.Close()
	fmt.Println("holds", ln.Addr())
	c, err := ln.Accept()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer c.Close()
	fmt.Println("accepted")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// TestSignalIdleNetNS tells a process that has a connection nothing, although it is in no table of the network namespace
// that the process is in: its listener came from outside, as with systemd's PrivateNetwork=.
func TestSignalIdleNetNS(t *testing.T) {
	needRoot(t)
	path := workDir(t, nil) + "/s"
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			ln, err := net.Listen(network, map[string]string{"tcp": "127.0.0.1:0", "unix": path}[network])
			must(t, err)
			defer ln.Close()
			f, err := ln.(interface{ File() (*os.File, error) }).File()
			must(t, err)
			defer f.Close()
			cmd := unshared("inherit")
			cmd.ExtraFiles = []*os.File{f}
			c := start(t, nil, cmd)
			c.line("holds ")
			conn, err := net.Dial(network, ln.Addr().String())
			must(t, err)
			defer conn.Close()
			c.line("accepted")
			p, err := process.Open(c.pid())
			must(t, err)
			defer p.Close()
			all, err := p.List(bounded(t))
			must(t, err)
			if len(all) != 1 {
				t.Fatalf("found %v", all)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := p.SignalIdle(ctx, syscall.SIGKILL, all...); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with a connection: %v", err)
			}
		})
	}
}
