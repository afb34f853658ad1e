//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/examples/internal/chain"
	"github.com/segue-go/segue/examples/internal/fault"
	"github.com/segue-go/segue/integration/leak"
	"github.com/segue-go/segue/integration/load"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// owner returns a function that asks who serves a new connection; 0 is nobody.
func owner(addr string) func() int {
	return func() (pid int) {
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			return 0
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, _ = fmt.Sscanf(line, "* process %d serves you;", &pid)
		return pid
	}
}

func chat(t *testing.T, addr string, users int) *load.Chat {
	t.Helper()
	traffic, err := load.StartChat(t.Context(), load.ChatOptions{
		Address: addr, Users: users, Pace: 20 * time.Millisecond, Timeout: 20 * time.Second, Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		traffic.Stop()
		traffic.Wait()
	})
	return traffic
}

// some waits until some more lines have been said to all users.
func some(c *chain.Chain, traffic *load.Chat, users int) {
	want := traffic.Counts().Received + 20*users
	c.Until("20 lines for each user", func() bool { return traffic.Present() == users && traffic.Counts().Received >= want })
}

// TestUpgrades: users stay connected and logged in through ten upgrades, and each line arrives at each of them once.
func TestUpgrades(t *testing.T) {
	const users = 12
	c := chain.New(t, "-listen", "127.0.0.1:0", "-guard", "200ms")
	addr := c.Address()
	owned := owner(addr)
	pid := owned()

	traffic := chat(t, addr, users)
	some(c, traffic, users)
	for i := range 10 {
		if i%2 == 0 {
			pid = c.Upgrade(pid, owned)
		} else {
			pid = c.TakeOver(owned)
		}
		c.Until("everybody has moved", func() bool { return traffic.Counts().Moves == users*(i+1) })
		some(c, traffic, users)
	}
	traffic.Stop()
	res := traffic.Wait()
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	if res.Moves != 10*users {
		t.Errorf("%d moves", res.Moves)
	}
	t.Logf("%+v, slowest %v", res.ChatCounts, res.Slowest)
	c.Stop(pid)
}

// TestKilledSuccessor: users who have moved to a successor are lost with it, the others go on as if nothing had happened,
// and the next successor gets all.
func TestKilledSuccessor(t *testing.T) {
	const users = 12
	c := chain.New(t, "-listen", "127.0.0.1:0", "-guard", "20s")
	addr := c.Address()
	owned := owner(addr)
	first := owned()

	traffic := chat(t, addr, users)
	some(c, traffic, users)
	for i := range 4 {
		moves := traffic.Counts().Moves
		next := c.Upgrade(first, owned)
		if i%2 == 1 { // not before somebody has moved
			c.Until("move", func() bool { return traffic.Counts().Moves > moves })
		}
		if err := syscall.Kill(next, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.Until("revival", func() bool { return owned() == first })
		some(c, traffic, users)
	}
	n := traffic.Excuse(func(f load.Failure) bool { return f.Dropped() })
	t.Logf("%d connections were lost with four successors, of %d each", n, users)
	moves := traffic.Counts().Moves
	pid := c.Upgrade(first, owned)
	c.Until("everybody has moved", func() bool { return traffic.Counts().Moves == moves+users })
	some(c, traffic, users)
	traffic.Stop()
	if err := traffic.Wait().Err(); err != nil {
		t.Error(err)
	}
	c.Stop(pid)
}

// TestFaults: successors that are no good cost nothing, not even one that serves for a moment before it dies: users move
// when it has confirmed.
func TestFaults(t *testing.T) {
	const users = 6
	file := filepath.Join(t.TempDir(), "fault")
	set := func(f fault.Fault) {
		t.Helper()
		if err := os.WriteFile(file, []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("")
	c := chain.New(t, "-listen", "127.0.0.1:0", "-ready-timeout", "1s", "-fault-file", file)
	addr := c.Address()
	owned := owner(addr)
	first := owned()
	traffic := chat(t, addr, users)
	some(c, traffic, users)
	for _, f := range []struct {
		fault.Fault
		says, then string
	}{
		{fault.Crash, "fault: this version crashes", "exit status 3"},
		{fault.NeverReady, "fault: this version never becomes ready", "the successor did not become ready"},
		{fault.DieAfterCommit, "fault: this version dies", "this generation serves again"},
	} {
		set(f.Fault)
		if err := syscall.Kill(first, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		c.Printed(f.says)
		c.Printed(f.then)
		some(c, traffic, users)
	}
	if n := traffic.Counts().Moves; n != 0 {
		t.Errorf("%d moves to successors that were no good", n)
	}
	set("")
	pid := c.Upgrade(first, owned)
	c.Until("everybody has moved", func() bool { return traffic.Counts().Moves == users })
	some(c, traffic, users)
	traffic.Stop()
	if err := traffic.Wait().Err(); err != nil {
		t.Error(err)
	}
	c.Stop(pid)
}
