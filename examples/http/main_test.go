//go:build linux

package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/examples/internal/chain"
	"github.com/segue-go/segue/examples/internal/fault"
	"github.com/segue-go/segue/integration/leak"
	"github.com/segue-go/segue/integration/load"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// owner returns a function that asks who answers on a new connection; 0 is nobody.
func owner(addr string) func() int {
	cl := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return func() int {
		resp, err := cl.Get("http://" + addr + "/pid")
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return pid
	}
}

// TestUpgrades upgrades in both ways, twice, with all kinds of traffic.
func TestUpgrades(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0", "-guard", "500ms")
	addr := c.Address()
	owned := owner(addr)
	pid := owned()

	traffic, err := load.Start(t.Context(), load.Options{
		Address: addr, New: 2, Kept: 6, Slow: 4, Upload: 4, Idle: 20,
		Pace: 10 * time.Millisecond, SlowFor: 300 * time.Millisecond, UploadFor: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	warm(c, traffic)
	for range 2 {
		c.Upgrade(pid, owned)
		warm(c, traffic)
		pid = c.TakeOver(owned)
		warm(c, traffic)
	}
	traffic.Stop()
	res := traffic.Wait()
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	if n := res.Forced(); n != 0 {
		t.Errorf("%d forced reconnects", n)
	}
	t.Logf("%+v", res.Counts())
	c.Stop(pid)
}

// warm waits until there have been some more requests.
func warm(c *chain.Chain, traffic *load.Load) {
	want := traffic.Counts().Requests + 200
	c.Until("200 requests", func() bool { return traffic.Counts().Requests >= want })
}

// TestFaults upgrades to three versions that are no good, and then to a good one. Nothing is lost but what the one
// that dies after commit had itself accepted.
func TestFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fault")
	c := chain.New(t, "-listen", "127.0.0.1:0", "-ready-timeout", "1s", "-fault-file", file)
	try := func(first int, f fault.Fault) {
		t.Helper()
		if err := os.WriteFile(file, []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(first, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := c.Address()
	owned := owner(addr)
	first := owned()

	traffic, err := load.Start(t.Context(), load.Options{Address: addr, New: 2, Kept: 6, Slow: 2, Upload: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		traffic.Stop()
		traffic.Wait()
	}()
	// A signal that comes while an upgrade is under way begins another after it.
	try(first, fault.Crash)
	c.Printed("fault: this version crashes")
	try(first, fault.NeverReady)
	c.Printed("fault: this version never becomes ready")
	warm(c, traffic)
	traffic.Stop()
	if err := traffic.Wait().Err(); err != nil {
		t.Error(err)
	}

	try(first, fault.DieAfterCommit)
	c.Printed("fault: this version dies")
	c.Until("revival", func() bool { return owned() == first })
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Stop(c.Upgrade(first, owned))
}
