package control_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/handoff/timeline"
)

// held makes a request that is not answered to its end by itself. The channel is closed when it is cut off.
func held(t *testing.T, addr string) <-chan struct{} {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /?hold=1 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(4 * patience))
	r := bufio.NewReader(conn)
	if _, err := http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		_, _ = r.ReadByte() // of the body, which has none
	}()
	return cut
}

// drains waits until the chain has these generations, the first of which serves, and returns them.
func drains(t *testing.T, c *control.Client, numbers ...int) (all []timeline.Generation) {
	t.Helper()
	await(t, fmt.Sprintf("generations %d", numbers), func() bool {
		chain, err := c.Status(bounded(t))
		if err != nil || len(chain.Generations) != len(numbers) {
			return false
		}
		all = chain.Generations
		for i, g := range all {
			if g.Generation != numbers[i] || i > 0 && (g.Phase != timeline.PhaseDraining || g.Conns.Active == 0 || !waitsFor(g, timeline.WaitDrain)) {
				return false
			}
		}
		return true
	})
	return all
}

func waitsFor(g timeline.Generation, what timeline.WaitFor) bool {
	return slices.ContainsFunc(g.Waits, func(w timeline.Wait) bool { return w.For == what })
}

// TestRetire shows two generations that drain, with one request each that does not end, and ends them: the one by its number, then
// what is left. The request of the other goes on until then.
func TestRetire(t *testing.T) {
	path, addr := rendezvous(t), freePort(t)
	if err := os.WriteFile(path+".role", []byte("patient"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, path, addr, "patient")
	c := &control.Client{Path: path}
	var cut []<-chan struct{}
	for range 2 {
		cut = append(cut, held(t, addr))
		if err := c.Upgrade(bounded(t), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range drains(t, c, 3, 2, 1)[1:] {
		i := slices.IndexFunc(g.Waits, func(w timeline.Wait) bool { return w.For == timeline.WaitDrain })
		if i < 0 || time.Until(g.Waits[i].Until) < time.Second || len(g.Sockets) > 0 {
			t.Errorf("generation %d: %+v", g.Generation, g)
		}
	}
	_, err := c.Retire(bounded(t), 3)
	is(t, "retiring who serves", err, control.ErrFailed, "not older", "it serves on")
	if n, err := c.Retire(bounded(t), 1); n != 1 || err != nil {
		t.Errorf("retiring the first: %d, %v", n, err)
	}
	within(t, "the first request", cut[0])
	select {
	case <-cut[1]:
		t.Error("the second was cut off with the first")
	default:
	}
	drains(t, c, 3, 2)
	if n, err := c.Retire(bounded(t), 0); n != 1 || err != nil {
		t.Errorf("retiring what is left: %d, %v", n, err)
	}
	within(t, "the second request", cut[1])
	drains(t, c, 3)
	if n, err := c.Retire(bounded(t), 0); n != 0 || err != nil {
		t.Errorf("retiring nobody: %d, %v", n, err)
	}
	all, err := c.History(bounded(t))
	if err != nil || len(all) != 2 || all[0].To.Generation != 2 || all[1].To.Generation != 3 || all[1].Result != timeline.Done {
		t.Errorf("History: %+v, %v", all, err)
	}
}

// TestRetireAll ends two at once, through each other.
func TestRetireAll(t *testing.T) {
	path, addr := rendezvous(t), freePort(t)
	if err := os.WriteFile(path+".role", []byte("patient"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, path, addr, "patient")
	c := &control.Client{Path: path}
	for range 2 {
		held(t, addr)
		if err := c.Upgrade(bounded(t), nil); err != nil {
			t.Fatal(err)
		}
	}
	drains(t, c, 3, 2, 1)
	if n, err := c.Retire(bounded(t), 0); n != 2 || err != nil {
		t.Errorf("Retire: %d, %v", n, err)
	}
	drains(t, c, 3)
}

// TestRetireStopped asks a process that does not run: the end of that is bounded, and the error says what to do.
func TestRetireStopped(t *testing.T) {
	path, addr := rendezvous(t), freePort(t)
	first := start(t, path, addr, "patient")
	c := &control.Client{Path: path}
	held(t, addr)
	if err := c.Upgrade(bounded(t), nil); err != nil {
		t.Fatal(err)
	}
	drains(t, c, 2, 1)
	await(t, "the end of its guard", func() bool {
		chain, err := c.Status(bounded(t))
		return err == nil && len(chain.Generations) == 2 && !waitsFor(chain.Generations[1], timeline.WaitGuard)
	})
	_ = first.Process.Signal(syscall.SIGSTOP)
	defer func() { _ = first.Process.Signal(syscall.SIGCONT) }()
	n, err := c.Retire(bounded(t), 0)
	is(t, "Retire", err, control.ErrFailed, fmt.Sprintf("kill -KILL %d", first.Process.Pid), "it serves on")
	if n != 0 {
		t.Errorf("%d have ended", n)
	}
}

func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// TestNothingSecret reads all that a chain says of itself, in a handoff that moves state, and one that fails.
func TestNothingSecret(t *testing.T) {
	path, addr := rendezvous(t), freePort(t)
	if err := os.WriteFile(path+".role", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, path, addr, "secret")
	c := &control.Client{Path: path}
	if err := c.Upgrade(bounded(t), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".role", []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	is(t, "a broken upgrade", c.Upgrade(bounded(t), nil), control.ErrFailed)
	var all strings.Builder
	for _, request := range []string{"status", "history", "watch"} {
		conn, err := net.Dial("unixpacket", path+".control")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write([]byte(`{"version":1,"request":"` + request + `"}`)); err != nil {
			t.Fatal(err)
		}
		for b, last := make([]byte, 64<<10), false; !last; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b[:n])
			var a struct{ Event string }
			if err := json.Unmarshal(b[:n], &a); err != nil {
				t.Fatal(err)
			}
			last = a.Event == "done" || a.Event == "status" || a.Event == "alive"
		}
		_ = conn.Close()
	}
	if s := all.String(); !strings.Contains(s, `"name":"secret"`) || !strings.Contains(s, "cannot find my configuration") {
		t.Errorf("the section, or the output, is not in it: %s", s)
	}
	for _, word := range []string{secret, "SEGUE_"} {
		if strings.Contains(all.String(), word) {
			t.Errorf("%q is in it: %s", word, &all)
		}
	}
}
