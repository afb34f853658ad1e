package main

import (
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-go/segue/integration/measured"
)

// draws draws measurements as the program does, and returns the SVG. The PNG must be one.
func draws(t *testing.T, kind string, m any) string {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "m.json"), filepath.Join(dir, kind)
	if err := measured.Write(from, m); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{kind, from, to}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(to + ".png")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c, err := png.DecodeConfig(f); err != nil || c.Width < 500 || c.Height < 200 {
		t.Errorf("the PNG: %+v, %v", c, err)
	}
	b, err := os.ReadFile(to + ".svg")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wants looks for words in an SVG.
func wants(t *testing.T, svg string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(svg, ">"+w+"<") {
			t.Errorf("the picture does not say %q", w)
		}
	}
}

func TestDemo(t *testing.T) {
	m := measured.Demo{
		Seconds:     6,
		Generations: []measured.Generation{{Number: 1, PID: 10}, {Number: 2, PID: 11}, {PID: 12, Failed: true}},
		Events: []measured.Event{{At: 2, Label: "1"}, {At: 4, Until: 4.5, Label: "never ready", Failed: true},
			{At: 5, Label: "dies after commit", Failed: true}},
		Failures: []measured.Failure{{At: 3}, {At: 5, Excused: true}},
		Lines: []measured.Line{
			{Kind: "kept", To: 6, Served: []measured.Service{{At: 0, Generation: 1}, {At: 2, Generation: 2}}},
			{Kind: "idle", To: 6, Served: []measured.Service{{At: 0, Generation: 1}}, Breaks: []float64{3}},
		},
		Lasting: []measured.Lasting{{Kind: "kept", Connections: 24}, {Kind: "idle", Connections: 2000, Lost: 1}},
	}
	for n := range 1200 {
		m.Requests = append(m.Requests, measured.Request{At: float64(n) / 200, Latency: float64(n%50) / 1000, Generation: n/400 - n/800})
	}
	wants(t, draws(t, "demo", &m),
		"1 upgrade and 2 failed successors: 1 of 1,202 requests failed, 1 of 2,024 lasting connections lost",
		"upgrade", "failed successor", "failed request; 1 died with the successor", "never ready", "dies after commit", "requests a second",
		"latency", "10 ms", "connections that stay", "seconds since the load began", "5 s", "generation 1", "generation 2", "1 of 2,000",
		"1 lost")
}

func TestPeers(t *testing.T) {
	wants(t, draws(t, "peers", &measured.Peers{Upgrades: 1, Fresh: 2, Kept: 30, Idle: 200, Peers: []measured.Peer{
		{Name: "one", Version: "v1", Promises: "everything", Longest: 0.25},
		{Name: "two", Promises: "nothing", Failed: 7637, Forced: 12, IdleLost: 150, Longest: 2.42},
	}}), "What clients lose in 1 upgrade of the same server under the same load", "failed requests", "forced reconnects",
		"of 30 connections in use", "idle connections lost", "200 at a time", "longest wait", "one v1", "everything", "two", "nothing",
		"7,637", "12", "150", "250 ms", "2.42 s", "1,000")
}

func TestNothingToDraw(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.json")
	if err := os.WriteFile(empty, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {"demo", empty, dir + "/p"}, {"peers", empty, dir + "/p"}, {"other", empty, dir + "/p"},
		{"demo", filepath.Join(dir, "missing"), dir + "/p"}} {
		if err := run(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if left, _ := filepath.Glob(dir + "/p*"); left != nil {
		t.Errorf("wrote %q", left)
	}
}
