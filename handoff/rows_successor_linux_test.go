package handoff_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/integration/decisions"
)

// successorScene is a successor and its incumbent, which speaks by hand.
type successorScene struct {
	t     *testing.T
	state string // where event is going to happen
	event string

	g     *handoff.Generation
	l     net.Listener
	r     *rawPeer
	die   func()     // ends the incumbent; nil: it is this process
	next  *rawPeer   // a successor of the successor, in LEAVING
	check chan error // Check answers with what comes
	let   func()     // lets Close go on, in LEAVING TRIAL
	held  chan struct{}
	ready chan error // what Ready returned; nil: it was not called
	done  chan error // what Close returned; likewise
	seen  *decided
}

// saidToSuccessor are what an incumbent can say, by the name of the event.
var saidToSuccessor = map[string]wire.Message{
	"COMMIT": &wire.Commit{}, "ABORT": &wire.Abort{}, "GOODBYE": &wire.Goodbye{}, "PING": &wire.Ping{}, "RELEASED": &wire.Released{},
	"CONFIRM": &wire.Confirm{}, "TAKEN": &wire.Taken{Batch: 60000}, "UPGRADE": &wire.Upgrade{}, "BYE": &wire.Bye{}, "another frame": &wire.Owned{},
}

// successorStates say how to get into a state. In those that are not here, nothing is waited for.
var successorStates = map[string]func(s *successorScene){
	"PREPARING":      func(*successorScene) {},
	"PREPARING HEIR": func(*successorScene) {},
	"INHERITING":     func(s *successorScene) { s.r.send(&wire.Goodbye{}) },
	"PROVING":        func(s *successorScene) { s.prepare() },
	"PROVING HEIR":   func(s *successorScene) { s.prepare() },
	"TAKING":         func(s *successorScene) { s.prepare(); s.r.send(&wire.Commit{}) },
	"TAKING ALONE":   func(s *successorScene) { s.prepare(); s.r.send(&wire.Goodbye{}) },
	"OPENING":        func(s *successorScene) { s.prepare(); s.r.send(&wire.Commit{}) },
	"OPENING ALONE":  func(s *successorScene) { s.prepare(); s.r.send(&wire.Goodbye{}) },
	"TRIAL":          func(s *successorScene) { s.own() },
	"TRIAL SEVERED":  func(s *successorScene) { s.own(); must(s.t, s.r.conn.Close()) },
	"TRIAL ALONE":    func(s *successorScene) { s.own(); s.r.send(&wire.Released{}) },
	"CONFIRMED":      func(s *successorScene) { s.confirmed() },
	"ANSWERED":       func(s *successorScene) { s.confirmed(); s.r.send(&wire.Ping{}); hear[*wire.Pong](s.r) },
	"SEVERED":        func(s *successorScene) { s.confirmed(); must(s.t, s.r.conn.Close()) },
	"FREE":           func(s *successorScene) { s.confirmed(); s.r.send(&wire.Released{}) },
	"ALONE":          func(s *successorScene) { s.confirmed(); s.r.send(&wire.Bye{}) },
	"LEAVING": func(s *successorScene) { // Close waits for the answer of a successor of its own
		s.confirmed()
		s.r.send(&wire.Released{})
		s.seen.in(s.t, "successor", "FREE")
		s.next = dialRaw(s.t, s.r.path)
		s.next.committed(0)
		hear[*wire.Goodbye](s.r)
		s.close()
		hear[*wire.Goodbye](s.r)
	},
	"LEAVING TRIAL": func(s *successorScene) { s.own(); s.close() }, // Close waits for nothing then, so begin has it wait
	"RETURNING":     func(s *successorScene) { s.fail() },
	"DEPARTING":     func(s *successorScene) { s.fail(); s.r.send(&wire.Confirm{}) },
	"DRAINING":      func(s *successorScene) { s.fail(); s.r.send(&wire.Abort{}) },
}

func (s *successorScene) prepare() {
	s.ready = make(chan error, 1)
	ctx := bounded(s.t)
	go func() { s.ready <- s.g.Ready(ctx) }()
	hear[*wire.Prepared](s.r)
}

func (s *successorScene) own() {
	s.prepare()
	s.r.send(&wire.Commit{})
	hear[*wire.Owned](s.r)
}

func (s *successorScene) confirmed() {
	s.own()
	hear[*wire.Confirm](s.r)
}

func (s *successorScene) fail() {
	s.confirmed()
	must(s.t, s.g.Fail(errUnwell))
	if m := hear[*wire.Failed](s.r); !m.Returned {
		s.t.Fatalf("got %+v", m)
	}
}

func (s *successorScene) close() {
	s.done = make(chan error, 1)
	go func() { s.done <- s.g.Close() }()
}

// trial reports whether the successor has a Check.
func (s *successorScene) trial() bool {
	return strings.Contains(s.state, "TRIAL") || s.event == "open, on probation"
}

// mortal reports whether the incumbent must be a process that can end.
func (s *successorScene) mortal() bool {
	return s.event == "death" || strings.HasSuffix(s.state, "SEVERED")
}

// owns reports whether the successor has the token where the event happens.
func (s *successorScene) owns() bool {
	return s.trial() || slices.Contains([]string{"CONFIRMED", "ANSWERED", "SEVERED", "FREE", "ALONE", "LEAVING"}, s.state)
}

// returned reports whether the token has gone back where the event happens.
func (s *successorScene) returned() bool {
	return slices.Contains([]string{"RETURNING", "DEPARTING", "DRAINING"}, s.state)
}

// elsewhere reports whether other tests go through a row: it needs more than a peer by hand.
func elsewhere(row decisions.Row) bool {
	return row.State == "DEPARTING" && row.Event == "drained" // Close ends the departure before
}

// TestSuccessorRows: see rows_linux_test.go.
func TestSuccessorRows(t *testing.T) {
	table, err := decisions.Read("../docs/protocol.md")
	must(t, err)
	tried := map[string]int{}
	for row := range table {
		reach, ok := successorStates[row.State]
		if row.Side != "successor" || !ok || elsewhere(row) {
			continue
		}
		tried[row.State]++
		t.Run(row.State+", "+row.Event, func(t *testing.T) {
			t.Parallel()
			s := successorScene{t: t, state: row.State, event: row.Event, seen: newDecided(), check: make(chan error, 1)}
			s.held = make(chan struct{})
			s.let = sync.OnceFunc(func() { close(s.held) })
			s.begin()
			t.Cleanup(s.let) // before Close
			reach(&s)
			if !strings.HasPrefix(s.state, "TAKING") && !strings.HasPrefix(s.state, "OPENING") && !strings.HasPrefix(s.state, "PREPARING") {
				s.seen.in(t, "successor", s.state)
			}
			s.happen()
			s.seen.until(t, s.event+" in "+s.state, func(d decisions.Decision) bool {
				return d.Side == "successor" && d.State == s.state && d.Event == s.event
			})
			s.settle()
		})
	}
	for state := range successorStates {
		if tried[state] == 0 {
			t.Errorf("the table has no state %q", state)
		}
	}
}

// begin goes as far as to the last offer.
func (s *successorScene) begin() {
	path := rendezvous(s.t)
	server := rawListener(s.t, path)
	c := config(s.t, path)
	switch {
	case s.event == "no time left", s.event == "the end":
		c.StepTimeout = 2 * time.Second
	case s.mortal():
		c.StepTimeout = 2 * patience // a process has to start
	}
	c.Logger = loggerTo(s.t, logTo(s.t), slog.LevelDebug, func(d decisions.Decision) {
		if s.event == "a socket does not open" && d.Event == "the token was there" { // none does once it is being closed
			s.close()
			for !errors.Is(s.g.State("x", newCell("").both()), net.ErrClosed) {
				runtime.Gosched()
			}
		}
		s.seen.add(d)
	})
	if s.state == "LEAVING TRIAL" {
		c.Logger = slog.New(decisions.Handler{Handler: c.Logger.Handler(), See: func(d decisions.Decision) {
			if d.Event == "closed" {
				s.seen.add(d) // it is logged when Close goes on
				<-s.held
			}
		}})
	}
	c.Command = func() *exec.Cmd { return exec.Command("false") }
	if s.trial() {
		c.Check = func(ctx context.Context) error {
			select {
			case err := <-s.check:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	joined := make(chan *handoff.Generation, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	s.t.Cleanup(cancel)
	go func() {
		g, err := handoff.Join(ctx, c)
		if err != nil {
			s.t.Errorf("Join: %v", err)
		}
		joined <- g
	}()
	r := acceptRaw(s.t, server)
	s.r, r.path = r, path
	r.features = []string{"conns", "return", "upgrade"}
	hear[*wire.Hello](r)
	n := uint(1)
	if s.event == "the token is gone" {
		n = 0
	}
	r.token = newEventfd(s.t, n)
	heir := strings.HasSuffix(s.state, "HEIR") || strings.HasSuffix(s.state, "ALONE") || s.state == "INHERITING"
	if s.mortal() {
		s.die = r.speaker(r.welcomes(heir))
	} else {
		r.send(r.welcomes(heir), r.token)
	}
	r.offer([]wire.Item{
		{Name: "r", Kind: wire.KindRendezvous},
		{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"},
	}, server, tcpListener(s.t))
	if s.g = result(s.t, "Join", joined); s.g == nil {
		s.t.FailNow()
	}
	s.t.Cleanup(func() { shut(s.t, s.g) })
	s.l = listen(s.t, s.g, "tcp", "127.0.0.1:0")
	_ = server.Close()
}

// happen makes the event happen, or lets it.
func (s *successorScene) happen() {
	switch s.event {
	case "the token was there", "the token is gone", "open, on probation", "open", "a socket does not open", "no time left":
	case "the program is ready":
		s.ready = make(chan error, 1)
		ctx := bounded(s.t)
		go func() { s.ready <- s.g.Ready(ctx) }()
	case "the program gives up":
		s.close()
	case "a successor is to be committed to":
		next := dialRaw(s.t, s.r.path)
		next.offered()
		next.prepared(next.receipts(), 0)
	case "it is well":
		s.check <- nil
	case "it is not well":
		if s.trial() {
			s.check <- errUnwell
			return
		}
		must(s.t, s.g.Fail(errUnwell))
	case "closed":
		s.close()
	case "drained":
		if s.done == nil {
			s.close()
		} else {
			s.answer()
		}
	case "the end":
		must(s.t, s.r.conn.Close())
	case "death":
		s.die()
	case "CONNS":
		s.r.sendConns(wire.Conns{Name: "gift"}, 1)
		if s.owns() && !s.trial() {
			hear[*wire.Taken](s.r)
		}
	default:
		s.r.send(saidToSuccessor[s.event])
	}
}

// answer ends LEAVING and LEAVING TRIAL: the successor that Close waits for owns.
func (s *successorScene) answer() {
	s.let()
	if s.next == nil {
		return
	}
	if !s.next.takeToken() {
		s.t.Fatal("no token")
	}
	s.next.send(&wire.Owned{})
	s.next.send(&wire.Confirm{})
	s.next = nil
}

// settle sees how it ends.
func (s *successorScene) settle() {
	s.answer()
	switch {
	case s.done != nil:
		must(s.t, result(s.t, "Close", s.done))
	case s.returned(), s.event == "it is not well":
		pending(s.t, "Accept", accepting(s.t, s.l))
		if !s.r.takeToken() {
			s.t.Error("the token did not go back")
		}
		return
	case s.owns():
		s.serves()
		return
	default:
		s.mayOwn()
		return
	}
	if (s.event == "the program gives up" || s.state == "OPENING") && !s.r.takeToken() {
		s.t.Error("the token was read, and is not back")
	}
}

// mayOwn sees whether it owns that did not, if that is what the event permits.
func (s *successorScene) mayOwn() {
	leaves := s.event == "GOODBYE" || s.event == "death"
	switch {
	case s.event == "the program is ready" && s.state != "INHERITING":
		hear[*wire.Prepared](s.r)
		s.r.send(&wire.Commit{})
	case s.state == "PREPARING HEIR" && leaves:
		s.ready = make(chan error, 1)
		ctx := bounded(s.t)
		go func() { s.ready <- s.g.Ready(ctx) }()
	case s.event == "the program is ready", s.event == "the token was there", s.event == "open",
		s.state == "PROVING HEIR" && leaves, strings.HasPrefix(s.state, "PROVING") && s.event == "COMMIT":
	default:
		s.gone()
		return
	}
	s.serves()
}

// serves sees that it owns, and nobody else can.
func (s *successorScene) serves() {
	s.t.Helper()
	if s.ready != nil {
		must(s.t, result(s.t, "Ready", s.ready))
	}
	serves(s.t, s.l)
	if s.r.takeToken() {
		s.t.Error("two own")
	}
}

// gone sees that it does not own, and says so.
func (s *successorScene) gone() {
	s.t.Helper()
	awaitPhase(s.t, s.g, handoff.PhaseStopped)
	err := error(nil)
	if s.ready != nil {
		err = result(s.t, "Ready", s.ready)
	} else {
		err = s.g.Ready(bounded(s.t))
	}
	if err == nil {
		s.t.Error("Ready: nil")
	}
	if result(s.t, "Accept", accepting(s.t, s.l)) == nil {
		s.t.Error("it accepts")
	}
	if s.event != "the token is gone" && !s.r.takeToken() {
		s.t.Error("the token was read")
	}
}
