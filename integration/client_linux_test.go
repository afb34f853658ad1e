package integration

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// visits are connections that clients make one after the other, all the time. Each is greeted with the server's process
// id, and then has a line echoed.
type visits struct {
	addr string
	quit chan struct{}
	wg   sync.WaitGroup

	mu   sync.Mutex
	all  []visit
	last chan struct{} // closed at the next visit
}

// visit is one connection.
type visit struct {
	start, greeted, end time.Time
	pid                 int // who greeted; 0 if nobody did
	err                 error
}

func (v visit) String() string {
	const f = "05.000000"
	return fmt.Sprintf("%s greeted %s ended %s pid %d: %v", v.start.Format(f), v.greeted.Format(f), v.end.Format(f), v.pid, v.err)
}

// come starts clients. They end with the test at the latest.
func come(t *testing.T, addr string, clients int) *visits {
	vs := &visits{addr: addr, quit: make(chan struct{}), last: make(chan struct{})}
	for range clients {
		vs.wg.Go(func() {
			for {
				select {
				case <-vs.quit:
					return
				case <-time.After(2 * time.Millisecond): // the rate, no wait for anything
				}
				v := call(addr)
				vs.mu.Lock()
				vs.all = append(vs.all, v)
				close(vs.last)
				vs.last = make(chan struct{})
				vs.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { vs.leave() })
	return vs
}

// call makes one visit. Whoever waits for a stopped process has patience.
func call(addr string) (v visit) {
	v.start = time.Now()
	defer func() { v.end = time.Now() }()
	d := net.Dialer{Timeout: 15 * time.Second}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		v.err = err
		return v
	}
	defer c.Close()
	if v.err = c.SetDeadline(time.Now().Add(15 * time.Second)); v.err != nil {
		return v
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		v.err = fmt.Errorf("greeting: %w", err)
		return v
	}
	v.greeted = time.Now()
	v.pid, _ = strconv.Atoi(strings.TrimSpace(line))
	token := fmt.Sprintf("%d\n", v.start.UnixNano())
	if _, v.err = c.Write([]byte(token)); v.err != nil {
		return v
	}
	if line, v.err = r.ReadString('\n'); v.err == nil && line != token {
		v.err = fmt.Errorf("sent %q, got %q", token, line)
	}
	return v
}

// answered waits until pid has greeted somebody who came after now.
func (vs *visits) answered(t *testing.T, pid int) {
	t.Helper()
	now, deadline := time.Now(), time.After(patience)
	for i := 0; ; {
		vs.mu.Lock()
		for ; i < len(vs.all); i++ {
			if vs.all[i].pid == pid && vs.all[i].start.After(now) {
				vs.mu.Unlock()
				return
			}
		}
		last := vs.last
		vs.mu.Unlock()
		select {
		case <-last:
		case <-deadline:
			t.Fatalf("pid %d does not answer", pid)
		}
	}
}

// leave ends the clients and returns what they saw, in the order in which they came.
func (vs *visits) leave() []visit {
	select {
	case <-vs.quit:
	default:
		close(vs.quit)
	}
	vs.wg.Wait()
	slices.SortFunc(vs.all, func(a, b visit) int { return a.start.Compare(b.start) })
	return vs.all
}

// owners returns who certainly accepted after whom: of two visits the second of which came only when the first had been
// greeted, the second was accepted later. While a generation that was replaced greets nobody who came after its
// successor's first greeting, no process is listed twice in a row or again.
func owners(all []visit, first int) []int {
	runs := []int{first}
	var since time.Time
	for {
		var next *visit
		for i := range all {
			v := &all[i]
			if v.pid == 0 || v.pid == runs[len(runs)-1] || !v.start.After(since) {
				continue
			}
			if next == nil || v.greeted.Before(next.greeted) {
				next = v
			}
		}
		if next == nil {
			return runs
		}
		runs, since = append(runs, next.pid), next.greeted
	}
}

// lost returns the visits that failed.
func lost(all []visit) []visit {
	return slices.DeleteFunc(slices.Clone(all), func(v visit) bool { return v.err == nil })
}

// soleOwner fails the test unless pid answers each of a number of connections.
func soleOwner(t *testing.T, addr string, pid int) {
	t.Helper()
	for range 20 {
		if v := call(addr); v.err != nil || v.pid != pid {
			t.Fatalf("pid %d does not own alone: %v", pid, v)
		}
	}
}

// hold makes a connection to pid that stays until the function that it returns is called.
func hold(t *testing.T, addr string, pid int) (let func()) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || line != fmt.Sprintln(pid) {
		t.Fatalf("greeted by %q, %v, want %d", line, err, pid)
	}
	return func() { _ = c.Close() }
}
