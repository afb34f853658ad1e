package integration

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/load"
)

var ways = []string{"upgrade", "join"}

// take makes a successor and waits until it serves.
func (w *world) take(way string, from *proc, role string) *proc {
	w.t.Helper()
	mark := w.mark()
	next := w.succeed(way, from, role)
	w.await(mark, fmt.Sprintf("pid %d serves", next.pid), func(e event) bool {
		return e.PID == next.pid && (e.Ev == "exit" || e.Ev == "phase" && e.Msg == "serving")
	})
	// Another upgrade may begin when the one before has heard that this one is well.
	w.wait(mark, from.pid, "log", "superseded")
	return next
}

// stats asks a process for its descriptors and goroutines until they are few enough, because connections of clients come
// and go, and returns the last answer.
func (w *world) stats(p *proc, fds, gs int) event {
	w.t.Helper()
	var e event
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		mark := w.mark()
		w.signal(p, unix.SIGUSR2)
		e = w.wait(mark, p.pid, "stats", "")
		if e.FDs <= fds && e.Gs <= gs {
			break
		}
	}
	return e
}

// TestHundredUpgrades upgrades a hundred times in both ways under load. Nothing fails, nothing piles up.
func TestHundredUpgrades(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "http")
	w.conf.Guard = 100 * time.Millisecond
	p := w.start("http")
	w.wait(0, p.pid, "phase", "serving")
	traffic := begun(t, load.Options{Address: w.addr, New: 2, Kept: 2, Pace: 20 * time.Millisecond})
	all := []*proc{p}
	var at5 event
	for i := range 100 {
		p = w.take(ways[i%2], p, "http")
		all = append(all, p)
		if i+1 == 5 || i+1 == 100 {
			for _, old := range all[:len(all)-1] {
				w.ended(old)
			}
			traffic.Stop()
			if err := traffic.Wait().Err(); err != nil {
				t.Error(err)
			}
		}
		if i+1 == 5 {
			at5 = w.least(p)
			traffic = begun(t, load.Options{Address: w.addr, New: 2, Kept: 2, Pace: 20 * time.Millisecond})
		}
	}
	// Both were started by Upgrade or both joined, or their parents' descriptors would not be alike.
	p = w.take(ways[0], p, "http")
	w.ended(all[len(all)-1])
	e := w.stats(p, at5.FDs, at5.Gs)
	if e.FDs > at5.FDs || e.Gs > at5.Gs {
		t.Errorf("after 101 upgrades %d descriptors and %d goroutines, after 5 %d and %d", e.FDs, e.Gs, at5.FDs, at5.Gs)
	}
	if e.N != 102 {
		t.Errorf("generation %d, want 102", e.N)
	}
}

// least is the stats of a process that has come to rest: when three answers in a row are alike.
func (w *world) least(p *proc) event {
	w.t.Helper()
	last := w.stats(p, 1<<20, 1<<20)
	for same := 0; same < 3; {
		e := w.stats(p, 1<<20, 1<<20)
		if e.FDs == last.FDs && e.Gs == last.Gs {
			same++
		} else {
			same = 0
		}
		last = e
	}
	return last
}

// begun starts a load that ends with the test at the latest.
func begun(t *testing.T, o load.Options) *load.Load {
	t.Helper()
	o.Timeout = 20 * time.Second
	l, err := load.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Stop(); l.Wait() })
	return l
}

// slow asks for an answer that takes its time, and returns a function that waits for it: who answered?
func slow(t *testing.T, addr string, d time.Duration) func() (int, error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := fmt.Fprintf(c, "GET /slow?ms=%d&token=t HTTP/1.1\r\nHost: %s\r\n\r\n", d.Milliseconds(), addr); err != nil {
		t.Fatal(err)
	}
	return func() (int, error) {
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return strconv.Atoi(resp.Header.Get("X-Segue-Pid"))
	}
}

// TestUpgradesWhileDraining upgrades while three older generations are still at a slow request each. Only the last of
// them can be revived, and is.
func TestUpgradesWhileDraining(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "http")
	w.conf.Guard = time.Minute
	gens := []*proc{w.start("http")}
	w.wait(0, gens[0].pid, "phase", "serving")
	traffic := begun(t, load.Options{Address: w.addr, New: 2, Pace: 10 * time.Millisecond})
	var answers []func() (int, error)
	for i := range 4 {
		from := gens[i]
		answers = append(answers, slow(t, w.addr, 4*time.Second))
		// The request is known to be under way when another that came after it on a new connection was answered.
		answered := slow(t, w.addr, 0)
		if pid, err := answered(); err != nil || pid != from.pid {
			t.Fatalf("answered by %d, %v; want %d", pid, err, from.pid)
		}
		gens = append(gens, w.take(ways[i%2], from, "http"))
	}
	for i := range 3 {
		w.wait(0, gens[i].pid, "log", "released: this generation cannot be revived any more")
	}
	killed := time.Now()
	w.signal(gens[4], unix.SIGKILL)
	w.wait(0, gens[3].pid, "log", "this generation serves again")
	var wg sync.WaitGroup
	for i, answer := range answers {
		wg.Go(func() {
			if pid, err := answer(); err != nil || pid != gens[i].pid {
				t.Errorf("slow request %d: answered by %d, %v; want %d", i, pid, err, gens[i].pid)
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		w.ended(gens[i])
	}
	traffic.Stop()
	res := traffic.Wait()
	res.Excuse(func(f load.Failure) bool { // accepted by the one that was killed
		return f.Dropped() && f.Started.Before(killed.Add(slack)) && f.At.After(killed.Add(-slack))
	})
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	if e, ok := w.poll(0, time.Millisecond, func(e event) bool {
		return e.Ev == "log" && e.Msg == "this generation serves again" && e.PID != gens[3].pid
	}); ok {
		t.Errorf("pid %d was revived too", e.PID)
	}
	last := w.take("join", gens[3], "http")
	if pid, err := slow(t, w.addr, 0)(); err != nil || pid != last.pid {
		t.Errorf("answered by %d, %v; want %d", pid, err, last.pid)
	}
}

// TestHTTPLoad upgrades ten times under all kinds of traffic.
func TestHTTPLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "http")
	p := w.start("http")
	w.wait(0, p.pid, "phase", "serving")
	traffic := begun(t, load.Options{Address: w.addr, New: 3, Kept: 6, Slow: 6, Upload: 6, Idle: 20,
		Pace: 10 * time.Millisecond, SlowFor: 400 * time.Millisecond, UploadFor: 400 * time.Millisecond})
	settle := func() { // some of each kind while this one serves
		want := traffic.Counts().Requests + 150
		for deadline := time.Now().Add(patience); traffic.Counts().Requests < want; {
			if time.Now().After(deadline) {
				t.Fatal("the load has come to a stop")
			}
			time.Sleep(5 * time.Millisecond) // a load cannot be waited for
		}
	}
	settle()
	all := []*proc{p}
	for i := range 10 {
		p = w.take(ways[i%2], p, "http")
		all = append(all, p)
		settle()
	}
	traffic.Stop()
	res := traffic.Wait()
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	for _, old := range all[:10] {
		w.ended(old)
	}
	if res.Counts().Requests < 1500 {
		t.Errorf("only %+v", res.Counts())
	}
}

// TestUDPLoad upgrades ten times while clients send datagrams, each the next one when the last one is answered.
func TestUDPLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "udp")
	w.conf.Listen = []string{"udp/" + w.addr}
	p := w.serving("udp")
	quit, pids := make(chan struct{}), make([][]int, 4)
	counts := make(chan int, 1024)
	var wg sync.WaitGroup
	for i := range pids {
		wg.Go(func() {
			c, err := net.Dial("udp", w.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 2048)
			for n := 0; ; n++ {
				select {
				case <-quit:
					return
				case <-time.After(time.Millisecond): // the rate
				}
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				want := fmt.Sprintf("%d.%d", i, n)
				if _, err := c.Write([]byte(want)); err != nil {
					t.Errorf("datagram %s: %v", want, err)
					return
				}
				k, err := c.Read(buf)
				var pid int
				var got string
				if err == nil {
					_, err = fmt.Sscan(string(buf[:k]), &pid, &got)
				}
				if err != nil || got != want {
					t.Errorf("datagram %s: got %q, %v", want, buf[:k], err)
					return
				}
				if l := len(pids[i]); l == 0 || pids[i][l-1] != pid {
					pids[i] = append(pids[i], pid)
					counts <- pid
				}
			}
		})
	}
	seen := func(p *proc) { // by all clients
		t.Helper()
		for n, deadline := 0, time.After(patience); n < len(pids); {
			select {
			case pid := <-counts:
				if pid == p.pid {
					n++
				}
			case <-deadline:
				t.Fatalf("pid %d does not answer all", p.pid)
			}
		}
	}
	t.Cleanup(func() { wg.Wait() })
	stop := sync.OnceFunc(func() { close(quit) })
	t.Cleanup(stop)
	seen(p)
	chain := []int{p.pid}
	for i := range 10 {
		p = w.take(ways[i%2], p, "udp")
		chain = append(chain, p.pid)
		seen(p)
	}
	stop()
	wg.Wait()
	for i := range pids {
		if !slices.Equal(pids[i], chain) {
			t.Errorf("client %d was answered by %v in turn, want %v", i, pids[i], chain)
		}
	}
}
