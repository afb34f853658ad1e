package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/listener"
)

// roleForged listens, has a connection, and makes /proc/net/unix say of both that they are something else, as any other
// user could. Its arguments are where to listen for TCP and on a Unix socket.
func roleForged(args []string) int {
	err := func() error {
		tcp, err := net.Listen("tcp", args[0])
		if err != nil {
			return err
		}
		defer tcp.Close()
		unix, err := net.Listen("unix", args[1])
		if err != nil {
			return err
		}
		defer unix.Close()
		held := []net.Listener{tcp, unix}
		inodes := []any{tcp, unix}
		for _, ln := range held {
			client, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
			if err != nil {
				return err
			}
			defer client.Close()
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			inodes = append(inodes, c)
		}
		for i, s := range inodes {
			info, err := listener.Describe(s.(syscall.Conn))
			if err != nil {
				return err
			}
			// A listener is a connected socket, and a connection none.
			line := fmt.Sprintf("@z\n0: 2 0 0 1 %d %d x", map[bool]int{true: 3, false: 1}[i < 2], info.Ino)
			c, err := net.ListenPacket("unixgram", line)
			if err != nil {
				return err
			}
			defer c.Close()
		}
		fmt.Println("holds", tcp.Addr())
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// TestForged wants names of Unix sockets that look like lines of a table to hide nothing: neither a socket that listens,
// nor a connection. In another network namespace, sock_diag cannot be asked.
func TestForged(t *testing.T) {
	for _, in := range []string{"this", "another"} {
		t.Run(in+" network namespace", func(t *testing.T) {
			path := workDir(t, nil) + "/s"
			var c *child
			if in == "this" {
				c = play(t, nil, "forged", "127.0.0.1:0", path)
			} else {
				needRoot(t)
				c = start(t, nil, unshared("forged", "127.0.0.1:1234", path))
			}
			addr := c.line("holds ")
			p, err := process.Open(c.pid())
			must(t, err)
			defer p.Close()
			all, err := p.List(bounded(t))
			must(t, err)
			for _, w := range [][2]string{{"tcp", addr}, {"unix", path}} {
				found, err := process.Match(bounded(t), all, w[0], w[1])
				must(t, err)
				if len(found) != 1 || !found[0].Listening || !found[0].Detailed {
					t.Fatalf("%v: found %v in %v", w, found, all)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				if err := p.SignalIdle(ctx, syscall.SIGKILL, found...); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v: with a connection: %v", w, err)
				}
				cancel()
			}
			everybodys, _, err := process.All(bounded(t))
			must(t, err)
			if i := slices.IndexFunc(everybodys, func(s process.Socket) bool {
				return s.Inode == all[0].Inode && s.Network == "tcp" && strings.HasSuffix(s.Address, addr)
			}); i < 0 {
				t.Errorf("not among all: %s", addr)
			}
		})
	}
}
