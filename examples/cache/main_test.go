//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/segue-go/segue/examples/internal/chain"
	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// once asks on a new connection.
func once(addr string, r request) error {
	c, err := dial(addr, "once", nil, 0)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	return c.ask(r)
}

// owner returns a function that asks who answers on a new connection; 0 is nobody.
func owner(addr string) func() int {
	return func() (pid int) {
		err := once(addr, request{"GET", "/pid", "", func(_ int, body string) (err error) {
			pid, err = strconv.Atoi(body)
			return err
		}})
		if err != nil {
			return 0
		}
		return pid
	}
}

// TestUpgrades: through ten upgrades under load, no increment is lost or doubled, nobody is allowed more or less than he
// may, and what was stored last is what one gets. All clients keep the connection that they have.
func TestUpgrades(t *testing.T) {
	const clients, bulk, burst = 8, 3000, 2000
	c := chain.New(t, "-listen", "127.0.0.1:0", "-guard", "200ms", "-rate", "0", "-burst", strconv.Itoa(burst))
	addr := c.Address()
	owned := owner(addr)
	pid := owned()

	var phase atomic.Int64
	first, err := dial(addr, "first", &phase, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer first.conn.Close()
	value := func(i int) string { return strings.Repeat(strconv.Itoa(i)+",", 150) }
	many := func(n int, f func(i int) request) { // a hundred at a time
		t.Helper()
		all := make([]request, n)
		for i := range all {
			all[i] = f(i)
		}
		for some := range slices.Chunk(all, 100) {
			if err := first.ask(some...); err != nil {
				t.Fatal(err)
			}
		}
	}
	many(bulk, func(i int) request {
		return request{"PUT", fmt.Sprintf("/cache/bulk%d", i), value(i), want(204, "")}
	})

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	cs := make([]*client, clients)
	for i := range cs {
		cl, err := dial(addr, fmt.Sprintf("client%d", i), &phase, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.conn.Close()
		cs[i] = cl
		wg.Go(func() {
			if err := cl.work(ctx); err != nil {
				t.Errorf("%s: %v", cl.name, err)
			}
		})
	}
	answered := func() { // everyone is answered by the owner, and a few times more
		for _, cl := range cs {
			c.Until("answer by the owner", func() bool { return t.Failed() || cl.pid.Load() == int64(pid) })
			want := cl.rounds.Load() + 5
			c.Until("5 rounds", func() bool { return t.Failed() || cl.rounds.Load() >= want })
		}
	}
	answered()
	for i := range 10 {
		if i%2 == 0 {
			pid = c.Upgrade(pid, owned)
		} else {
			pid = c.TakeOver(owned)
		}
		answered()
		phase.Add(1)
	}
	stop()
	wg.Wait()
	if t.Failed() {
		return
	}

	var shared []int
	total := 0
	for _, cl := range cs {
		if err := first.ask(request{"GET", "/count/" + cl.name, "", want(200, strconv.Itoa(cl.own))}); err != nil {
			t.Error(err)
		}
		shared, total = append(shared, cl.shared...), total+cl.own
	}
	slices.Sort(shared)
	for i, n := range shared {
		if n != i+1 {
			t.Fatalf("the %d. increment of a shared counter was answered by %d", i+1, n)
		}
	}
	if err := first.ask(request{"GET", "/count/shared", "", want(200, strconv.Itoa(len(shared)))}); err != nil {
		t.Error(err)
	}
	for i := range phase.Load() {
		bucket := fmt.Sprintf("bucket%d", i)
		n := 0
		for _, cl := range cs {
			n += cl.grants[bucket]
		}
		if n == 0 || n == burst {
			t.Errorf("%d of %d of %s were used before the end: it says nothing", n, burst, bucket)
		}
		many(burst-n+1, func(int) request { return first.allow(bucket) })
		if n += first.grants[bucket]; n != burst {
			t.Errorf("%s was allowed %d times, not %d", bucket, n, burst)
		}
	}
	many(bulk, func(i int) request {
		return request{"GET", fmt.Sprintf("/cache/bulk%d", i), "", want(200, value(i))}
	})
	t.Logf("%d increments of a shared counter, %d of the others", len(shared), total)
	c.Stop(pid)
}

// TestRevival: with a successor that dies, what it has counted is lost; of the cache, nothing is left, as any value might be
// an old one.
func TestRevival(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0", "-guard", "20s")
	addr := c.Address()
	owned := owner(addr)
	first := owned()
	ask := func(method, path, body string, check func(int, string) error) {
		t.Helper()
		if err := once(addr, request{method, path, body, check}); err != nil {
			t.Fatal(err)
		}
	}
	ask("PUT", "/cache/a", "old", want(204, ""))
	ask("POST", "/count/a", "", want(200, "1"))
	next := c.Upgrade(first, owned)
	ask("GET", "/cache/a", "", want(200, "old"))
	ask("PUT", "/cache/a", "new", want(204, ""))
	ask("POST", "/count/a", "", want(200, "2"))
	if err := syscall.Kill(next, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.Until("revival", func() bool { return owned() == first })
	ask("GET", "/count/a", "", want(200, "1"))
	ask("GET", "/cache/a", "", want(404, ""))

	ask("PUT", "/cache/a", "newer", want(204, ""))
	pid := c.Upgrade(first, owned)
	ask("GET", "/cache/a", "", want(200, "newer"))
	c.Stop(pid)
}
