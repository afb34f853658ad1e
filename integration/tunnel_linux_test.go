package integration

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tunnel makes a connection of another protocol, which sends back what it gets.
func (w *world) tunnel(id int) *lane {
	w.t.Helper()
	k := w.connect(id)
	if err := k.send("/tunnel?"); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(k.br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatalf("tunnel: %v, %v", resp, err)
	}
	return k
}

func (k *lane) echoes(t *testing.T) {
	t.Helper()
	b := make([]byte, 4)
	_ = k.c.SetDeadline(time.Now().Add(patience))
	if _, err := k.c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(k.br, b); err != nil || string(b) != "ping" {
		t.Fatalf("%q, %v", b, err)
	}
}

// TestTunnels: connections that a handler has taken over go on in the old process, past its guard, for as long as its server
// is told to wait. What is left then is counted in the log.
func TestTunnels(t *testing.T) {
	for name, wait := range map[string]time.Duration{"closed by their clients": time.Minute, "cut": time.Nanosecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLive(t, "tcp")
			w.conf.Guard, w.conf.WaitHijacked = 50*time.Millisecond, wait
			first := w.firstHTTP()
			tunnels := []*lane{w.tunnel(0), w.tunnel(1)}
			mark := w.mark()
			w.take("upgrade", first, "http")
			if wait == time.Minute {
				w.await(mark, "the end of the guard", func(e event) bool {
					return e.PID == first.pid && e.Ev == "log" && strings.HasPrefix(e.Msg, "released")
				})
				for _, k := range tunnels {
					k.echoes(t)
					if !first.alive() {
						t.Error("the old process has not waited")
					}
					_ = k.c.Close()
				}
				w.ended(first)
				return
			}
			w.await(mark, "how many are cut", func(e event) bool {
				return e.PID == first.pid && e.Ev == "log" && strings.Contains(e.Msg, "cut when this process ends: 2;")
			})
			w.ended(first)
			for _, k := range tunnels {
				if _, err := k.br.ReadByte(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("a tunnel of a process that has ended: %v", err)
				}
			}
		})
	}
}
