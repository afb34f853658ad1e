//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-go/segue/examples/internal/chain"
	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// client is one connection on which lines are sent and answered.
type client struct {
	net.Conn
	r *bufio.Reader
	n int
}

func dial(addr string) (*client, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &client{Conn: c, r: bufio.NewReader(c)}, nil
}

// say sends a line that was not sent before, and returns which process answered.
func (c *client) say() (int, error) {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	c.n++
	line := fmt.Sprintf("%v %d", c.LocalAddr(), c.n)
	if _, err := fmt.Fprintln(c, line); err != nil {
		return 0, err
	}
	answer, err := c.r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	pid, rest, _ := strings.Cut(strings.TrimSpace(answer), " ")
	if rest != line {
		return 0, fmt.Errorf("answer %q to line %q", answer, line)
	}
	return strconv.Atoi(pid)
}

// ask makes a connection, says one line, and returns who answered.
func ask(addr string) (int, error) {
	c, err := dial(addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.say()
}

func TestUpgrades(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0")
	addr := c.Address()
	owned := func() int {
		t.Helper()
		pid, err := ask(addr)
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	first := owned()

	// A little load: connections for one line, and connections that stay.
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var lines atomic.Int64
	defer wg.Wait()
	defer stop()
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := ask(addr); err != nil {
					t.Errorf("new connection: %v", err)
					return
				}
				lines.Add(1)
			}
		})
		wg.Go(func() {
			c, err := dial(addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for served := 0; ctx.Err() == nil; {
				pid, err := c.say()
				if err != nil || served != 0 && pid != served {
					t.Errorf("kept connection: process %d, then %d: %v", served, pid, err)
					return
				}
				served = pid
				lines.Add(1)
			}
		})
	}
	some := func() {
		want := lines.Load() + 200
		c.Until("200 lines", func() bool { return t.Failed() || lines.Load() >= want })
	}
	some()
	c.Upgrade(first, owned)
	some()
	pid := c.TakeOver(owned)
	some()
	stop()
	wg.Wait()
	c.Stop(pid)
}
