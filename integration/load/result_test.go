package load

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const ms = time.Millisecond

// sampled makes a kind's result of requests that each took 10 ms longer than the one before.
func sampled(k Kind, begun time.Time, n int) KindResult {
	r := KindResult{Kind: k, Counts: Counts{Requests: n}, begun: begun}
	for i := range n {
		start := time.Duration(i) * time.Second
		lat := time.Duration(i+1) * 10 * ms
		r.samples = append(r.samples, sample{start: start, end: start + lat, latency: lat})
	}
	return r
}

func TestLatencies(t *testing.T) {
	begun := time.Now()
	at := begun.Add
	k := sampled(New, begun, 100)
	tests := []struct {
		name   string
		events []time.Time
		want   Latencies
	}{
		{"no event", nil, Latencies{}},
		{"none near", []time.Time{at(-time.Minute), at(time.Hour)}, Latencies{}},
		{"just before", []time.Time{at(5*time.Second - 200*ms)}, Latencies{1, 60 * ms, 60 * ms, 60 * ms}},
		{"during", []time.Time{at(5*time.Second + 30*ms)}, Latencies{1, 60 * ms, 60 * ms, 60 * ms}},
		{"just after", []time.Time{at(5*time.Second + 260*ms)}, Latencies{1, 60 * ms, 60 * ms, 60 * ms}},
		{"too late", []time.Time{at(5*time.Second + 261*ms)}, Latencies{}},
		{"too early", []time.Time{at(5*time.Second - 201*ms)}, Latencies{}},
		{"unsorted", []time.Time{at(2 * time.Second), at(0)}, Latencies{2, 10 * ms, 30 * ms, 30 * ms}},
	}
	for _, tt := range tests {
		if got := k.Near(tt.events, 200*ms); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if got, want := k.Latencies(), (Latencies{100, 500 * ms, 990 * ms, 1000 * ms}); got != want {
		t.Errorf("overall: %v, want %v", got, want)
	}
}

// TestTable compares the table with testdata/table.txt, as a person would like to see it.
func TestTable(t *testing.T) {
	begun := time.Now()
	r := &Result{Begun: begun, Kinds: []KindResult{
		sampled(New, begun, 100), sampled(Kept, begun, 3), {Kind: Idle, begun: begun},
	}}
	r.Lasting = []Lasting{{Name: "idle", Connections: 2000}, {Name: "chat users", Connections: 30, Lost: 1, Reconnects: 22}}
	r.Kinds[1].Counts = Counts{Requests: 123_456, Failed: 12, Forced: 3, Reconnects: 12_345, Excused: 7}
	var b bytes.Buffer
	if err := r.WriteTable(&b, []time.Time{begun}, 200*ms, "an upgrade"); err != nil {
		t.Fatal(err)
	}
	chat := &ChatResult{ChatCounts: ChatCounts{Sent: 1234, Received: 37_020, Lost: 3, Doubled: 1}, Slowest: 37 * ms}
	if err := chat.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the table is\n%s\nwant\n%s", &b, want)
	}
	for line := range strings.Lines(b.String()) {
		if utf8.RuneCountInString(line) > 100+len("\n") {
			t.Errorf("longer than 100 columns: %q", line)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.00µs", 999: "1.00µs", 12_345: "12.3µs", 123_456: "123µs", 9_994 * time.Microsecond: "9.99ms",
		9_996 * time.Microsecond: "10.0ms", 99_960 * time.Microsecond: "100ms", 61 * time.Second: "61.0s", -5 * ms: "-5.00ms",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestSeedDetermines(t *testing.T) {
	o := Options{Address: "x:1", Upload: 1, Seed: 7}
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	raw := func(o Options, n int) []string {
		r := newRequests(&o, Kept, n)
		var out []string
		for range 3 {
			var b bytes.Buffer
			if err := r.next(true).send(&b); err != nil {
				t.Fatal(err)
			}
			out = append(out, b.String(), r.pause().String())
		}
		return out
	}
	a := raw(o, 1)
	if b := raw(o, 1); !slices.Equal(a, b) {
		t.Errorf("the same seed gave %q and %q", a, b)
	}
	if b := raw(o, 2); slices.Equal(a, b) {
		t.Error("two workers send the same")
	}
	o.Seed++
	if b := raw(o, 1); slices.Equal(a, b) {
		t.Error("two seeds give the same")
	}
}
