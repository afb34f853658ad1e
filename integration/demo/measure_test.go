package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/load"
	"github.com/segue-go/segue/integration/measured"
)

// TestMeasured makes a picture's measurements of a short load on a server that is said to have been upgraded twice.
func TestMeasured(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h, enough, n := load.Handler(), make(chan struct{}), make(chan struct{}, 200)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		select {
		case n <- struct{}{}:
			if len(n) == cap(n) {
				close(enough)
			}
		default:
		}
	})}
	go func() { _ = srv.Serve(ln) }() // ends by Close
	defer srv.Close()
	l, err := load.Start(t.Context(), load.Options{Address: ln.Addr().String(), New: 1, Kept: drawn + 1, Idle: 2})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-enough:
	case <-time.After(20 * time.Second):
		t.Error("the load does not go on")
	}
	l.Stop()
	r := l.Wait()

	at := func(seconds float64) time.Time { return r.Begun.Add(time.Duration(seconds * float64(time.Second))) }
	pid := os.Getpid()
	d := &demo{out: io.Discard, result: r, http: &server{chain: []int{1, pid}}, chat: &server{chain: []int{5, 6}},
		talk: &load.ChatResult{Ended: at(9), Served: []load.Served{{User: 0, PID: 5, At: at(1)}, {User: drawn, PID: 5, At: at(1)}, {User: 0, PID: 6, At: at(4)}},
			ChatCounts: load.ChatCounts{Dropped: 1}, Failures: []load.Failure{{Kind: load.ChatUser, At: at(8)}}},
		events: []event{{at: at(2), upgrade: true, mark: "1"}, {at: at(3), until: at(5), mark: "never ready"}, {at: at(5), what: "not shown"}},
		deaths: deaths{list: []death{{pid: 7, at: at(6)}}}}
	for i := range r.Kinds {
		if k := &r.Kinds[i]; k.Kind == load.Kept {
			k.Failures = []load.Failure{{Kind: load.Kept, Worker: 1, At: at(3)}}
			k.Pardoned = []load.Failure{{Kind: load.Kept, Worker: drawn, At: at(6)}}
			k.Forced = 1
		}
	}
	m := d.measured()

	if want := []measured.Generation{{Number: 1, PID: 1}, {Number: 2, PID: pid}, {PID: 7, Failed: true}}; !slices.Equal(m.Generations, want) {
		t.Errorf("generations %+v", m.Generations)
	}
	if want := []measured.Event{{At: 2, Label: "1"}, {At: 3, Until: 5, Label: "never ready", Failed: true}}; !slices.Equal(m.Events, want) {
		t.Errorf("events %+v", m.Events)
	}
	if want := []measured.Failure{{At: 3}, {At: 6, Excused: true}}; !slices.Equal(m.Failures, want) {
		t.Errorf("failures %+v", m.Failures)
	}
	if want := []measured.Lasting{{Kind: "kept", Connections: 24, Lost: 1}, {Kind: "idle", Connections: 2000}, {Kind: "chat", Connections: 30, Lost: 1}}; !slices.Equal(m.Lasting, want) {
		t.Errorf("lasting %+v", m.Lasting)
	}
	if len(m.Requests) != r.Counts().Requests || slices.ContainsFunc(m.Requests, func(q measured.Request) bool { return q.Generation != 1 }) {
		t.Errorf("%d of %d requests, %+v ...", len(m.Requests), r.Counts().Requests, m.Requests[0])
	}
	lines := map[string][]measured.Line{}
	for _, l := range m.Lines {
		lines[l.Kind] = append(lines[l.Kind], l)
	}
	if kept := lines["kept"]; len(kept) != drawn || len(kept[0].Served) != 1 || kept[0].Served[0].Generation != 2 || !slices.Equal(kept[1].Breaks, []float64{3}) {
		t.Errorf("connections in use %+v", kept)
	}
	if idle := lines["idle"]; len(idle) != 2 || len(idle[0].Served) != 2 || idle[0].To <= idle[0].From {
		t.Errorf("idle connections %+v", idle)
	}
	chat := lines["chat"]
	if len(chat) != 1 || chat[0].From != 1 || chat[0].To != 9 || !slices.Equal(chat[0].Breaks, []float64{8}) ||
		!slices.Equal(chat[0].Served, []measured.Service{{At: 1, Generation: 1}, {At: 4, Generation: 2}}) {
		t.Errorf("chat users %+v", chat)
	}
}
