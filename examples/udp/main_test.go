//go:build linux

package main

import (
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

// client sends each datagram once.
type client struct {
	net.Conn
	n int
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{Conn: c}
}

// say sends a datagram and returns which process answered it.
func (c *client) say() (int, error) {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	c.n++
	said := fmt.Sprintf("%v %d", c.LocalAddr(), c.n)
	if _, err := c.Write([]byte(said)); err != nil {
		return 0, err
	}
	b := make([]byte, 1024)
	n, err := c.Read(b)
	if err != nil {
		return 0, err
	}
	pid, rest, _ := strings.Cut(string(b[:n]), " ")
	if rest != said {
		return 0, fmt.Errorf("answer %q to %q", b[:n], said)
	}
	return strconv.Atoi(pid)
}

func TestUpgrades(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0")
	addr := c.Address()
	asking := dial(t, addr)
	owned := func() int {
		t.Helper()
		pid, err := asking.say()
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	first := owned()

	// A little load: no datagram may stay without its answer.
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var answers atomic.Int64
	defer wg.Wait()
	defer stop()
	for range 4 {
		c := dial(t, addr)
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.say(); err != nil {
					t.Error(err)
					return
				}
				answers.Add(1)
			}
		})
	}
	some := func() {
		want := answers.Load() + 200
		c.Until("200 answers", func() bool { return t.Failed() || answers.Load() >= want })
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
