package main

import (
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/load"
	"github.com/segue-go/segue/integration/measured"
)

// planted are servers that lose something. They pretend to be upgraded: at SIGHUP they name another process.
var planted = map[string]role{
	"drops requests":         func(s server) error { return losing(s, "/token", 10) },
	"drops slow requests":    func(s server) error { return losing(s, "/slow", 2) },
	"drops nothing":          func(s server) error { return losing(s, "", 0) },
	"drops idle connections": func(s server) error { return losing(s, "", 0, syscall.SIGHUP) },
}

// losing serves, closes the connection instead of every n-th answer to a path, and all that are idle at a signal.
func losing(s server, path string, n int64, hangUp ...os.Signal) error {
	var asked, upgrades atomic.Int64
	h := load.Handler()
	srv := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path == r.URL.Path && r.FormValue("token") != "who" && asked.Add(1)%n == 0 {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(&other{ResponseWriter: w, more: upgrades.Load()}, r)
	})}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGHUP)
	go func() {
		for range sigs {
			upgrades.Add(1)
			if len(hangUp) > 0 {
				srv.SetKeepAlivesEnabled(false) // closes them
				srv.SetKeepAlivesEnabled(true)
			}
		}
	}()
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	return srv.Serve(ln)
}

// other names another process than the one that answers.
type other struct {
	http.ResponseWriter
	more int64
}

func (o *other) Write(b []byte) (int, error) {
	if o.more > 0 {
		o.Header().Set("X-Segue-Pid", "1"+strings.Repeat("0", int(o.more)))
	}
	return o.ResponseWriter.Write(b)
}

// short is a load of a second or two.
func short() options {
	return options{upgrades: 2, grace: time.Second, pause: 300 * time.Millisecond, seed: 1, fresh: 2, kept: 4, slow: 4, idle: 10}
}

func runs(t *testing.T, p peer) measured.Peer {
	t.Helper()
	o := short()
	m, err := run(t.Context(), o, p)
	if err != nil {
		t.Fatal(err)
	}
	if m.Upgrades != o.upgrades || m.Requests == 0 {
		t.Errorf("%s: %+v", p.name, m)
	}
	return m
}

// TestPeers upgrades each server, so that none of them stands in the table for what it did not do. What others lose is theirs; of
// segue nothing may be lost.
func TestPeers(t *testing.T) {
	for _, p := range peers() {
		t.Run(p.name, func(t *testing.T) {
			m := runs(t, p)
			switch p.name {
			case "segue":
				if m.Failed+m.Forced+m.IdleLost > 0 {
					t.Errorf("something was lost: %+v", m)
				}
			case "plain restart":
				if m.IdleLost == 0 {
					t.Errorf("a restart lost nothing: %+v", m)
				}
			}
		})
	}
}

// TestLossesAreCounted plants servers that lose something, to see that the same count finds it.
func TestLossesAreCounted(t *testing.T) {
	for name, lost := range map[string]func(measured.Peer) bool{
		"drops requests":         func(m measured.Peer) bool { return m.Failed > 0 },
		"drops slow requests":    func(m measured.Peer) bool { return m.SlowLost > 0 && m.Failed >= m.SlowLost },
		"drops nothing":          func(m measured.Peer) bool { return m.Failed+m.Forced+m.IdleLost == 0 },
		"drops idle connections": func(m measured.Peer) bool { return m.IdleLost > 0 && m.Forced+m.Failed > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			if m := runs(t, peer{name: name, signal: "HUP", first: true}); !lost(m) {
				t.Errorf("%+v", m)
			}
		})
	}
}
