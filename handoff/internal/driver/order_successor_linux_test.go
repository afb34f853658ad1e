package driver

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// successorDoes is what is recorded of each action of the successor, in its order. What is said of a frame is so when it is sent.
var successorDoes = map[succession.Action][]string{
	succession.SendReceipts: {"send prepared"},
	succession.SendFailed:   {"send failed"},
	succession.ReadToken:    {"take the token"},
	succession.Open:         {"open"},
	succession.SendOwned:    {"send owned: row held"},
	succession.BeginServing: {"close what is unclaimed"},
	succession.SendConfirm:  {"send confirm: row held, serving"},
	succession.Announce:     nil, // see the PID file
	succession.Settle:       {"tell: settled"},
	succession.SendPong:     {"send pong"},
	succession.SendRelease:  {"send release"},
	succession.SendGoodbye:  {"send goodbye"},
	succession.PutBack:      {"put the token back", "send failed"},
	succession.HandBack:     {"park", "put the token back: no batch is taken", "send failed: no batch is taken", "close the copies"},
	succession.ReceiveConns: {"send taken"},
	succession.DepartBack:   nil,
	succession.StartUpgrade: nil,
	succession.HangUp:       nil,
}

// successorFrames are what the events need.
var successorFrames = map[succession.SuccessorEvent]wire.Message{
	succession.Conns: &wire.Conns{Protocol: "test/1"}, succession.Confirmation: &wire.Confirm{},
}

// TestSuccessorOrder is TestIncumbentOrder for the other side.
func TestSuccessorOrder(t *testing.T) {
	rows := 0
	for s := succession.First; s <= succession.Gone; s++ {
		for e := succession.Ready; e <= succession.TooLate; e++ {
			if _, do, ok := s.Step(e); !ok || len(do) == 0 || e <= succession.OpenFailed && e >= succession.ReadTaken {
				continue // reports follow from other rows
			}
			for _, there := range []bool{true, false} {
				for _, fails := range []error{nil, errUnwell} {
					for _, check := range []bool{false, true} {
						rows++
						t.Run(fmt.Sprintf("%v, %v, token %v, fails %v, check %v", s, e, there, fails != nil, check), func(t *testing.T) {
							playSuccessor(t, s, e, there, fails, check, nil)
						})
						if e == succession.Unfit {
							t.Run(fmt.Sprintf("%v, %v, token %v, fails %v, check %v, held", s, e, there, fails != nil, check), func(t *testing.T) {
								playSuccessor(t, s, e, there, fails, check, errUnwell)
							})
						}
					}
				}
			}
		}
	}
	if rows < 200 {
		t.Errorf("only %d rows", rows)
	}
}

func playSuccessor(t *testing.T, s succession.Successor, e succession.SuccessorEvent, there bool, fails error, check bool, unheld error) {
	r := newRig(t)
	r.there, r.fails = there, fails
	if check {
		r.d.cfg.Check = func(context.Context) error { return nil }
	}
	p := r.predecessor(s)
	if s == succession.First {
		p, r.d.predecessor = nil, nil
	}
	if slices.Contains([]succession.Successor{succession.Trial, succession.TrialSevered, succession.TrialAlone, succession.Confirmed}, s) {
		r.d.started.happen()
	}
	held := func() string {
		if r.d.rows.TryLock() {
			r.d.rows.Unlock()
			return "row not held"
		}
		return "row held"
	}
	r.look["send owned"] = held
	r.look["send confirm"] = func() string {
		if !r.d.started.happened() {
			return held() + ", before the program was ready"
		}
		return held() + ", serving"
	}
	if e == succession.Unfit {
		r.look["put the token back"] = func() string {
			_, _ = p.in.Receive(&wire.Conns{Protocol: "test/1"}, link.Frame{Raw: &fdpass.Message{}}) // TAKEN would be recorded
			return "no batch is taken"
		}
		r.look["send failed"] = r.look["put the token back"]
	}
	in := input{event: e, cause: errUnwell, held: unheld}
	if m := successorFrames[e]; m != nil {
		in.frame = link.Frame{Msg: m, Raw: &fdpass.Message{}}
	}
	want, events := successorRows(t, s, e, there, fails != nil, check && p != nil, p != nil)
	if unheld != nil { // then the token stays
		want = slices.DeleteFunc(want, func(did string) bool { return strings.HasPrefix(did, "put the token back") })
	}
	switch {
	case slices.Contains(want, "send prepared"):
		r.says(&wire.Commit{})
	case e == succession.Confirmation && s == succession.Returning:
		r.d.Conns.HandsBack(time.Minute)
		_ = r.other.CloseWrite() // nothing is answered
		_ = r.other.Close()
	case e == succession.Unfit:
		r.d.Conns.HandsBack(time.Minute)
	}
	r.d.decide(p, in)
	got, decided := r.done()
	if !slices.Equal(got, want) {
		t.Errorf("done:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	if !slices.Equal(decided, events) {
		t.Errorf("decided %q, want %q", decided, events)
	}
	if p != nil && slices.Contains(lastActions(s, events), succession.HangUp) != p.gone.happened() {
		t.Errorf("link ended: %v", p.gone.happened())
	}
	if pid, _ := os.ReadFile(r.d.cfg.PIDFile); (len(pid) > 0) != slices.Contains(lastActions(s, events), succession.Announce) {
		t.Errorf("the PID file has %q", pid)
	}
}

// successorRows follows the table: what is recorded, and decided.
func successorRows(t *testing.T, s succession.Successor, e succession.SuccessorEvent, there, fails, trial, linked bool) (want, events []string) {
	for again := true; again; {
		next, do, ok := s.Step(e)
		if !ok {
			t.Fatalf("no row for %v in %v", e, s)
		}
		events = append(events, e.String())
		back := next.HandedBack()
		s, again = next, false
		for _, action := range do {
			does, known := successorDoes[action]
			if !known {
				t.Fatalf("nobody says what is recorded of %v", action)
			}
			if action == succession.Settle && (back || next == succession.Gone) || action == succession.BeginServing && !linked {
				does = nil
			}
			want = append(want, does...)
			again = true
			switch action {
			case succession.SendReceipts:
				e = succession.Commit
			case succession.ReadToken:
				if e = succession.ReadTaken; !there {
					e = succession.ReadGone
				}
			case succession.Open:
				switch e = succession.Opened; {
				case fails:
					e = succession.OpenFailed
				case trial:
					e = succession.OpenedOnTrial
				}
			case succession.HandBack, succession.DepartBack:
				e = succession.Cut
			default:
				again = false
			}
		}
	}
	return want, events
}

// lastActions are all actions of the rows that were gone through from s on.
func lastActions(s succession.Successor, events []string) (all []succession.Action) {
	for _, name := range events {
		for e := succession.Ready; e <= succession.TooLate; e++ {
			if e.String() == name {
				next, do, _ := s.Step(e)
				s, all = next, append(all, do...)
				break
			}
		}
	}
	return all
}

// TestPingWhileHandingBack: what the predecessor says while the program hands back waits for the end of that, also if it came just
// before.
func TestPingWhileHandingBack(t *testing.T) {
	r := newRig(t)
	r.there = true
	p := r.predecessor(succession.Confirmed)
	holding, let := make(chan struct{}), make(chan struct{})
	must(t, r.d.Sections.Add(&state.Section{Name: "x", Hold: func(context.Context) (func(), error) {
		close(holding)
		<-let
		return func() {}, nil
	}}))
	r.says(&wire.Ping{})
	in, ok := p.await(t.Context()) // what the loop has heard, and not decided
	if !ok || in.event != succession.Ping {
		t.Fatalf("got %v, %v", in.event, ok)
	}
	back := make(chan bool)
	go func() { back <- r.d.HandBack(errUnwell) }()
	<-holding
	heard := make(chan struct{})
	go func() { p.hear(in); close(heard) }()
	select {
	case <-heard:
		t.Error("PING was decided while the program handed back")
	case <-time.After(50 * time.Millisecond):
	}
	close(let)
	if !<-back {
		t.Error("the sockets did not go back")
	}
	<-heard
	if got, _ := r.done(); !slices.Equal(got, []string{"park", "put the token back", "send failed", "close the copies"}) {
		t.Errorf("got %q", got)
	}
}

// TestAnswersInOrder: PONG says that all before it was heard.
func TestAnswersInOrder(t *testing.T) {
	r := newRig(t)
	p := r.predecessor(succession.Confirmed)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(pair[0])
	conn := os.NewFile(uintptr(pair[1]), "")
	defer conn.Close()
	r.says(&wire.Conns{Name: "gift", Records: wire.AppendRecord(nil, wire.Record{Expires: -1})}, conn)
	r.says(&wire.Ping{})
	r.says(&wire.Bye{})
	p.attend()
	if got, _ := r.done(); !slices.Equal(got, []string{"send taken", "send pong", "tell: settled"}) {
		t.Errorf("got %q", got)
	}
}
