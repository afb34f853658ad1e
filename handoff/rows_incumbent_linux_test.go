package handoff_test

import (
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/integration/decisions"
	"github.com/segue-go/segue/internal/kernel"
)

// incumbentScene is an incumbent and its successor, which speaks by hand.
type incumbentScene struct {
	t     *testing.T
	state string // where event is going to happen
	event string
	step  time.Duration

	a    *handoff.Generation
	la   net.Listener
	r    *rawPeer
	pup  *puppet // nil: the successor is this process, which cannot be killed
	seen *decided
}

// saidToIncumbent are what a successor can say, by the name of the event.
var saidToIncumbent = map[string]wire.Message{
	"OWNED": &wire.Owned{}, "OWNED, the token is there": &wire.Owned{}, "CONFIRM": &wire.Confirm{}, "FAILED returned": &wire.Failed{Returned: true},
	"FAILED": &wire.Failed{}, "GOODBYE": &wire.Goodbye{}, "RELEASE": &wire.Release{}, "PONG": &wire.Pong{}, "DROP": &wire.Drop{Item: 60000},
	"TAKEN": &wire.Taken{Batch: 60000}, "another frame": &wire.Ping{},
}

// incumbentStates say how to get into a state. In those that are not here, no peer has a say.
var incumbentStates = map[string]func(s *incumbentScene){
	"COMMITTED": func(s *incumbentScene) { s.r.committed(0) },
	"UNCONFIRMED": func(s *incumbentScene) {
		within := 2 * patience
		if s.event == "no time left" {
			within = 0
		}
		s.r.owned(within)
	},
	"GUARD":   func(s *incumbentScene) { s.confirm() },
	"PROBING": func(s *incumbentScene) { s.confirm(); hear[*wire.Ping](s.r) },
	"ASKING":  func(s *incumbentScene) { s.confirm(); hear[*wire.Ping](s.r) },
	"RELEASED": func(s *incumbentScene) {
		s.confirm()
		s.r.send(&wire.Release{})
		hear[*wire.Released](s.r)
	},
	"RELIEVED": func(s *incumbentScene) {
		s.confirm()
		s.r.send(&wire.Goodbye{})
		hear[*wire.Released](s.r)
	},
	"RELEASED ALONE": func(s *incumbentScene) {
		s.confirm()
		s.r.send(&wire.Release{})
		hear[*wire.Released](s.r)
		must(s.t, s.r.conn.Close())
		s.seen.in(s.t, "incumbent", s.state)
	},
	"RELEASED UNCONFIRMED": func(s *incumbentScene) {
		s.r.owned(2 * patience)
		s.r.send(&wire.Goodbye{})
		hear[*wire.Released](s.r)
		s.seen.in(s.t, "incumbent", s.state)
		if b, err := wire.Encode(&wire.Release{}); err == nil {
			_ = fdpass.Send(s.r.conn, b) // the link may be closed already
		}
		if said := s.r.hangsUp(); len(said) > 0 {
			s.t.Errorf("it says %v over a link that is over", said)
		}
	},
	"ORPHANED": func(s *incumbentScene) {
		s.confirm()
		s.r.send(&wire.Release{})
		hear[*wire.Released](s.r)
		s.pup.kill()
		s.seen.in(s.t, "incumbent", s.state)
	},
	"FENCING COMMITTED": silentCommitted,
	"BLOCKED COMMITTED": silentCommitted,
	"FENCING OWNED":     func(s *incumbentScene) { s.r.owned(0); s.seen.in(s.t, "incumbent", s.state) },
	"BLOCKED OWNED":     func(s *incumbentScene) { s.r.owned(0); s.seen.in(s.t, "incumbent", s.state) },
	"FENCING GUARD":     silentGuard,
	"BLOCKED GUARD":     silentGuard,
}

func silentCommitted(s *incumbentScene) {
	s.r.committed(0)
	if !s.r.takeToken() {
		s.t.Fatal("no token")
	}
	s.seen.in(s.t, "incumbent", s.state)
}

func silentGuard(s *incumbentScene) {
	s.confirm()
	hear[*wire.Ping](s.r)
	s.seen.in(s.t, "incumbent", s.state)
}

// silent reports whether the state is one that an incumbent comes to if the successor is silent.
func (s *incumbentScene) silent() bool {
	return strings.HasPrefix(s.state, "BLOCKED") || strings.HasPrefix(s.state, "FENCING")
}

// self reports whether the successor must be a process that cannot be killed.
func (s *incumbentScene) self() bool {
	return strings.HasPrefix(s.state, "BLOCKED") || s.event == "it cannot be killed"
}

// moves reports whether a batch of connections must be on its way.
func (s *incumbentScene) moves() bool { return s.state == "PROBING" || s.event == "a batch is overdue" }

// confirm goes as far as CONFIRM, and to a batch that is not answered.
func (s *incumbentScene) confirm() {
	s.r.owned(0)
	c := &wire.Confirm{}
	if s.moves() {
		i := slices.IndexFunc(s.r.items, func(i wire.Item) bool { return i.Kind == wire.KindListener })
		c = &wire.Confirm{Takes: []wire.Take{{Item: i, Protocol: "test/1"}}, Room: 100}
	}
	s.r.send(c)
	if s.moves() {
		hear[*wire.Conns](s.r)
	}
}

// guard is that of the incumbent.
func (s *incumbentScene) guard() time.Duration {
	switch {
	case s.event == "the guard is over" && s.state == "PROBING":
		return s.step * 3 / 2 // after the batch is overdue, and before the patience with PING is over
	case s.state == "ASKING", s.state == "BLOCKED GUARD", s.state == "FENCING GUARD", s.event == "the guard is over":
		return 20 * time.Millisecond
	}
	return 3 * patience
}

// TestIncumbentRows: see rows_linux_test.go.
func TestIncumbentRows(t *testing.T) {
	table, err := decisions.Read("../docs/protocol.md")
	must(t, err)
	tried := map[string]int{}
	for row := range table {
		reach, ok := incumbentStates[row.State]
		if row.Side != "incumbent" || !ok {
			continue
		}
		s := incumbentScene{state: row.State, event: row.Event, step: time.Second}
		switch row.Event {
		case "death", "wished death":
			if s.self() || row.State == "ORPHANED" && row.Event == "wished death" {
				continue // this process does not die; and how a child of this process died is known at once
			}
		case "the end", "no time left", "a batch is overdue", "the guard is over", "closed", "it is dead", "it cannot be killed":
		default:
			if saidToIncumbent[row.Event] == nil {
				t.Errorf("no test makes %s happen", row)
			}
		}
		tried[row.State]++
		t.Run(row.State+", "+row.Event, func(t *testing.T) {
			t.Parallel()
			if row.Event == "wished death" { // of a process that is no child
				kernel.Need(t, kernel.InfoExit)
			}
			for s.step = s.wait(); !s.play(t, reach); s.step *= 2 {
				if s.step > patience/4 {
					t.Fatal("its time is over before the event, again and again")
				}
			}
		})
	}
	for state := range incumbentStates {
		if tried[state] == 0 {
			t.Errorf("the table has no state %q", state)
		}
	}
}

// wait is the StepTimeout to begin with: short, where a test has to wait for it.
func (s *incumbentScene) wait() time.Duration {
	if s.silent() || s.state == "PROBING" || s.state == "RELEASED ALONE" || s.event == "the end" || s.event == "no time left" || s.event == "a batch is overdue" {
		return 800 * time.Millisecond
	}
	return 2 * time.Second
}

// play reports false if the machine was too slow to have the event happen in the state.
func (s incumbentScene) play(t *testing.T, reach func(*incumbentScene)) bool {
	s.t, s.seen = t, newDecided()
	path := rendezvous(t)
	c := config(t, path)
	c.StepTimeout, c.Guard = s.step, s.guard()
	c.Logger = loggerTo(t, logTo(t), slog.LevelDebug, s.seen.add)
	s.a, s.la = first(t, c)
	s.r = dialRaw(t, path)
	if !s.self() {
		s.r.voice = func(m wire.Message) { s.pup = s.r.puppetSays(m) }
	}
	if s.moves() {
		s.r.features = []string{"conns"}
		newCrowd(t, s.la, 1)
	}
	reach(&s)
	s.happen()
	here := func(d decisions.Decision) bool { return d.Side == "incumbent" && d.State == s.state }
	d := s.seen.until(t, s.event+" in "+s.state, func(d decisions.Decision) bool {
		return here(d) && (d.Event == s.event || d.Event == "no time left" || s.state == "PROBING" && d.Event == "the guard is over")
	})
	if d.Event != s.event {
		return false
	}
	s.settle()
	return true
}

// happen makes the event happen, or lets it.
func (s *incumbentScene) happen() {
	switch s.event {
	case "no time left", "the guard is over", "a batch is overdue", "it is dead", "it cannot be killed":
	case "the end":
		must(s.t, s.r.conn.Close())
	case "death":
		s.pup.kill()
	case "wished death":
		s.pup.exit(0)
	case "closed":
		if s.state == "PROBING" { // Close waits for what moves, as long as this state
			s.r.send(&wire.Taken{Room: 100})
		}
		if s.state == "RELEASED UNCONFIRMED" { // Close ends the successor's side of the generation first
			must(s.t, s.a.Wait(s.t.Context(), nil))
		}
		shut(s.t, s.a)
	default:
		has := s.state != "COMMITTED" && !strings.HasPrefix(s.state, "REL")
		switch {
		case s.event == "OWNED" && s.state == "COMMITTED" && !s.r.takeToken():
			s.t.Fatal("no token")
		case s.event == "FAILED returned" && has:
			s.r.putToken()
		}
		s.r.send(saidToIncumbent[s.event])
	}
}

// settle sees how it ends when the successor is gone.
func (s *incumbentScene) settle() {
	if s.event == "closed" {
		return // it could be closed
	}
	released := func() bool {
		return s.seen.some(func(d decisions.Decision) bool { return strings.HasPrefix(d.Next, "REL") || d.Next == "ORPHANED" })
	}
	switch {
	case s.pup != nil:
		_ = s.r.conn.Close()
		s.pup.kill()
	case s.event == "FAILED returned":
	case s.event == "the end":
		return // it lives and may own, and nobody can say more: the incumbent stays paused, and says so
	default: // late, but in time: nothing else has happened
		for _, m := range []wire.Message{&wire.Owned{}, &wire.Confirm{}, &wire.Goodbye{}} {
			b, err := wire.Encode(m)
			must(s.t, err)
			_ = fdpass.Send(s.r.conn, b) // it hangs up when it has heard enough
		}
	}
	eventually(s.t, "an owner, or the end of the guard", func() bool { return s.a.Status().Phase == handoff.PhaseServing || released() })
	if released() {
		await(s.t, "Released", s.a.Released())
		pending(s.t, "Accept", accepting(s.t, s.la))
		_ = result(s.t, "Wait", waiting(s.t, s.a, nil)) // it may say that nobody serves
		return
	}
	serves(s.t, s.la)
	if s.r.takeToken() {
		s.t.Error("it serves, and the token is there")
	}
}
