package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/load"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at returns a time that many milliseconds after the epoch.
func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func TestOnlyWhatDiedWithASuccessorIsExcused(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	d := &demo{deaths: deaths{list: []death{{pid: 7, after: at(1000), at: at(1050)}}}}
	tests := []struct {
		name string
		f    load.Failure
		want bool
	}{
		{"it had answered", load.Failure{Err: io.EOF, At: at(1051), Dialed: at(1010), Answered: 2, PID: 7}, true},
		{"idle on a connection of its own", load.Failure{Err: io.EOF, At: at(1051), Dialed: at(1010), Answered: 1, PID: 7,
			Forced: true}, true},
		{"accepted, not answered", load.Failure{Err: reset, At: at(1051), Dialed: at(1010)}, true},
		{"connected before", load.Failure{Err: reset, At: at(1051), Dialed: at(999)}, false},
		{"connected after", load.Failure{Err: reset, At: at(1051), Dialed: at(1050)}, false},
		{"broke before", load.Failure{Err: reset, At: at(700), Dialed: at(600), PID: 7}, false},
		{"broke later", load.Failure{Err: reset, At: at(1400), Dialed: at(1010)}, false},
		{"found at its second write", load.Failure{Kind: load.Upload, Op: "send", Err: syscall.EPIPE, At: at(1350), Dialed: at(1010)}, true},
		{"broke much later", load.Failure{Kind: load.Upload, Op: "send", Err: syscall.EPIPE, At: at(1650), Dialed: at(1010)}, false},
		{"an upload not answered later", load.Failure{Kind: load.Upload, Op: "receive", Err: io.EOF, At: at(1350), Dialed: at(1010)}, false},
		{"another had answered", load.Failure{Err: reset, At: at(1051), Dialed: at(1010), Answered: 1, PID: 6}, false},
		{"refused", load.Failure{Err: syscall.ECONNREFUSED, At: at(1051)}, false},
		{"a wrong answer", load.Failure{Err: load.ErrForeign, At: at(1051), Dialed: at(1010), PID: 7}, false},
	}
	for _, tt := range tests {
		if got := d.diedWith(tt.f); got != tt.want {
			t.Errorf("%s: excused %t, want %t", tt.name, got, tt.want)
		}
	}
	if new(demo).diedWith(tests[0].f) {
		t.Error("excused although nobody died")
	}
}

func TestTwoOwnersAreFound(t *testing.T) {
	sample := func(pid, start, end int) load.Sample {
		return load.Sample{PID: pid, Start: at(start), End: at(end)}
	}
	chain := []int{1, 2, 3}
	tests := []struct {
		name    string
		samples []load.Sample
		want    int
	}{
		{"none", nil, 0},
		{"one after the other", []load.Sample{sample(1, 0, 5), sample(2, 6, 8), sample(3, 9, 10)}, 0},
		{"a slow answer of the old one", []load.Sample{sample(2, 6, 8), sample(1, 5, 20)}, 0},
		{"accepted by the old one", []load.Sample{sample(2, 6, 8), sample(1, 9, 20)}, 1},
		{"accepted by the oldest, unsorted", []load.Sample{sample(1, 21, 22), sample(1, 1, 2), sample(3, 19, 20)}, 1},
		{"after the death of a successor", []load.Sample{sample(9, 1, 2), sample(3, 4, 5), sample(9, 6, 7)}, 0},
	}
	for _, tt := range tests {
		if got := twoOwners(tt.samples, chain); len(got) != tt.want {
			t.Errorf("%s: found %v, want %d", tt.name, got, tt.want)
		}
	}
}

// TestExplain reads what a person would read after a run that failed.
func TestExplain(t *testing.T) {
	var out bytes.Buffer
	d := &demo{out: &out, begun: epoch, problems: []string{"process 4 is still there"}, events: []event{
		{at: at(1000), what: "upgrade 1, by SIGHUP (process 1 to 2)", upgrade: true},
		{at: at(3000), what: "upgrade 2, by a second start (process 2 to 3)", upgrade: true},
	}}
	var failures []load.Failure
	for n := range 20 {
		failures = append(failures, load.Failure{Kind: load.Kept, Op: "receive", At: at(3012 + n), Dialed: at(2000), PID: 2,
			Answered: 14, Local: "127.0.0.1:5", Err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}})
	}
	failures = append(failures, load.Failure{Kind: load.New, Op: "connect", At: at(900), Err: syscall.ECONNREFUSED},
		load.Failure{Kind: load.Idle, Op: "idle", At: at(100), Err: io.EOF, Forced: true, Dialed: at(50), Local: "x"})
	d.explain(failures)
	for _, want := range []string{
		"problem: process 4 is still there\n",
		"20 × kept: receive: connection reset by peer, upgrade 2, by a second start (process 2 to 3)\n",
		"1 × new: connect: connection refused, upgrade 1, by SIGHUP (process 1 to 2)\n",
		"1 × idle: idle: EOF, the start of the demo\n",
		"0.100 s before upgrade 1",
		"0.012 s after upgrade 2, by a second start (process 2 to 3):\n      kept: receive: read: connection reset by peer;" +
			" 127.0.0.1:5, connected 1.01s before, 14 answered, the last by pid 2\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the explanation lacks %q:\n%s", want, &out)
		}
	}
	if n := strings.Count(out.String(), "14 answered"); n != 1 {
		t.Errorf("%d failures of one sort are told at length", n)
	}
}

// TestConnectionsThatDoNotStayAreProblems: neither lost nor replaced ones are allowed, whoever counted them.
func TestConnectionsThatDoNotStayAreProblems(t *testing.T) {
	for _, tt := range []struct {
		result load.Result
		want   int
	}{
		{load.Result{Lasting: []load.Lasting{{Name: "idle", Connections: 9}, {Name: "chat", Connections: 3}}}, 0},
		{load.Result{Lasting: []load.Lasting{{Name: "idle", Connections: 9}, {Name: "chat", Connections: 3, Lost: 1}}}, 1},
		{load.Result{Lasting: []load.Lasting{{Name: "idle", Connections: 9, Reconnects: 1}}}, 1},
		{load.Result{Lasting: []load.Lasting{{Name: "idle", Connections: 9, Excused: 1}}}, 0},
		{load.Result{Kinds: []load.KindResult{{Kind: load.Kept, Counts: load.Counts{Reconnects: 2}}}}, 1},
	} {
		log, err := newServerLog()
		if err != nil {
			t.Fatal(err)
		}
		d := &demo{result: &tt.result, log: log}
		d.checkLasting()
		if len(d.problems) != tt.want {
			t.Errorf("%+v: problems %q, want %d", tt.result, d.problems, tt.want)
		}
		log.close()
		log.remove()
	}
}

// TestTheChatMustBeWhole: neither a line that is lost, doubled or wrong, nor a user who did not move is allowed.
func TestTheChatMustBeWhole(t *testing.T) {
	for _, tt := range []struct {
		counts load.ChatCounts
		want   int
	}{
		{load.ChatCounts{Received: 9, Moves: 2 * chatUsers}, 0},
		{load.ChatCounts{Received: 9, Moves: 2 * chatUsers, Lost: 1}, 1},
		{load.ChatCounts{Received: 9, Moves: 2 * chatUsers, Doubled: 1}, 1},
		{load.ChatCounts{Received: 9, Moves: 2 * chatUsers, Wrong: 1}, 1},
		{load.ChatCounts{Received: 9, Moves: 2*chatUsers + 1}, 1},
		{load.ChatCounts{Received: 9, Moves: 2*chatUsers - 1}, 1},
		{load.ChatCounts{Moves: 2 * chatUsers}, 1},
	} {
		log, err := newServerLog()
		if err != nil {
			t.Fatal(err)
		}
		d := &demo{chat: &server{chain: []int{1, 2, 3}}, talk: &load.ChatResult{ChatCounts: tt.counts}, log: log}
		d.checkTalk()
		if len(d.problems) != tt.want {
			t.Errorf("%+v: problems %q, want %d", tt.counts, d.problems, tt.want)
		}
		log.close()
		log.remove()
	}
}

func TestARunThatDidNotStartFails(t *testing.T) {
	d := &demo{out: io.Discard}
	d.problems = append(d.problems, "the first server did not start")
	if err := d.report(); !errors.Is(err, errFailed) {
		t.Errorf("report() = %v", err)
	}
}
