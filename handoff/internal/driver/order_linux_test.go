package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
	"github.com/segue-go/segue/listener"
)

// What the tests of the order of actions have in common: a Driver whose token and sockets only record what is done with them, and a
// link whose other end does what a test says.

// rig is a Driver that records.
type rig struct {
	t     *testing.T
	d     *Driver
	other *net.UnixConn // the other end of the link
	link  *link.Link
	close func() // the link

	mu     sync.Mutex
	record []string                      // what was done, in this order
	events []string                      // what was decided
	look   map[string]func() (is string) // says what is so at that moment, which goes into the record

	there bool  // the token is
	fails error // what pausing and opening return
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, look: map[string]func() string{}}
	r.d = New(Config{
		StepTimeout: time.Minute, ReadyTimeout: time.Minute, StateTimeout: time.Minute, DrainTimeout: time.Minute, StopTimeout: time.Minute,
		Guard:    time.Hour,
		Logger:   slog.New(deciding{slog.NewTextHandler(io.Discard, nil), r}),
		Trace:    &timeline.Trace{Sent: func(m timeline.Message) { r.note("send " + string(m.Type)) }},
		Released: func(Peer, bool) { r.note("tell: released") },
		Settled:  func() { r.note("tell: settled") },
		PIDFile:  t.TempDir() + "/pid",
	})
	r.d.held = holds{r}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	ours, err := sys.UnixConn(listener.NewFD(pair[0]))
	must(t, err)
	r.other, err = sys.UnixConn(listener.NewFD(pair[1]))
	must(t, err)
	r.link = link.New(ours, r.d.linkOptions("other", false))
	r.close = r.link.Close
	n, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, err)
	r.link.Peer, err = peer.FromPidFD(listener.NewFD(n), os.Getpid(), 0, 0)
	must(t, err)
	t.Cleanup(func() {
		_ = r.other.Close()
		r.d.cancel(net.ErrClosed)
		r.d.tasks.Wait()
		r.d.Conns.Close()
		r.d.spares.Close()
		r.close()
	})
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) note(what string) {
	if look := r.look[what]; look != nil {
		what += ": " + look()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record = append(r.record, what)
}

// done returns what was recorded since the last call.
func (r *rig) done() (record, events []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record, events = r.record, r.events
	r.record, r.events = nil, nil
	return record, events
}

// says has the other side say m.
func (r *rig) says(m wire.Message, fds ...syscall.Conn) {
	r.t.Helper()
	b, err := wire.Encode(m)
	must(r.t, err)
	must(r.t, fdpass.Send(r.other, b, fds...))
}

// deciding is a log handler that notes decisions.
type deciding struct {
	slog.Handler
	r *rig
}

func (h deciding) Enabled(context.Context, slog.Level) bool { return true }
func (h deciding) WithAttrs([]slog.Attr) slog.Handler       { return h }

func (h deciding) Handle(_ context.Context, rec slog.Record) error {
	h.r.mu.Lock()
	defer h.r.mu.Unlock()
	switch rec.Message {
	case "a case that cannot be; please report it":
		h.r.events = append(h.r.events, "cannot be")
	case "decided":
		rec.Attrs(func(a slog.Attr) bool {
			if a.Key == "event" {
				h.r.events = append(h.r.events, a.Value.String())
			}
			return true
		})
	}
	return nil
}

// right is the token.
type right struct{ r *rig }

func (x right) Take() (bool, error) { x.r.note("take the token"); return x.r.there, nil }
func (x right) Put() error          { x.r.note("put the token back"); return nil }
func (x right) Present() bool       { return x.r.there }
func (x right) Exists() bool        { return true }
func (x right) Close()              {}

// holds is all that the generation has.
type holds struct{ r *rig }

func (x holds) Arm() error                 { x.r.note("arm"); return nil }
func (x holds) Open() error                { x.r.note("open"); return x.r.fails }
func (x holds) Park(*sockets.Socket) error { x.r.note("park"); return nil }
func (x holds) Own() []*sockets.Socket     { return nil }
func (x holds) Vacate()                    { x.r.note("close the copies") }
func (x holds) CloseUnclaimed()            { x.r.note("close what is unclaimed") }

// offers is what the successor was offered.
type offers struct{ r *rig }

func (x offers) Len() int                             { return 2 }
func (x offers) Items() ([]wire.Item, []syscall.Conn) { return nil, nil }
func (x offers) Sockets() []*sockets.Socket           { return nil }
func (x offers) Place(*sockets.Socket) (int, bool)    { return 0, false }
func (x offers) Claim([]bool)                         {}
func (x offers) Changed() bool                        { return false }
func (x offers) Give()                                { x.r.note("give") }
func (x offers) Pause() error                         { x.r.note("pause"); return x.r.fails }
func (x offers) Park() error                          { x.r.note("park"); return nil }
func (x offers) RetireUnclaimed(context.Context)      { x.r.note("retire what is unclaimed") }
func (x offers) Claimed() []bool                      { return nil }
func (x offers) CloseCopy(place int)                  { x.r.note(fmt.Sprint("close copy ", place)) }
func (x offers) RestoreBacklogs(owned bool)           { x.r.note("restore backlogs") }
func (x offers) Reopen(context.Context, func(func(bool))) ([]*sockets.Socket, error) {
	x.r.note("reopen")
	return nil, nil
}

// attempt is one that has come to that state.
func (r *rig) attempt(state succession.Incumbent) *attempt {
	a := newAttempt(r.d, kindCaller, r.link)
	a.token, a.manifest, a.offerTaken = right{r}, offers{r}, true
	a.ctx, a.confirmed, a.cause = r.t.Context(), func() { r.note("return from Upgrade") }, errUnwell
	a.sections.Set, a.sections.Link, a.sections.Spares, a.sections.Requests = &r.d.Sections, r.link, &r.d.spares, &r.d.Conns.Exchange
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.d.attempt, r.d.toPredecessor, r.d.toSuccessor = a, succession.Alone, state
	r.d.enterPhaseLocked()
	return a
}

var errUnwell = errors.New("it is not well")

// predecessor is one to which this generation is in that state.
func (r *rig) predecessor(state succession.Successor) *predecessor {
	p := &predecessor{d: r.d, link: r.link, token: right{r}, ready: r.t.Context(), released: newEvent(), gone: newEvent(), watched: make(chan struct{})}
	p.in = r.d.Conns.From(r.link, r.d.inheritedPlaces())
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.d.predecessor, r.d.toPredecessor, r.close = p, state, p.close
	r.d.Conns.Succeeds(p.gone.c)
	r.d.enterPhaseLocked()
	return p
}

// incumbentDoes is what is recorded of each action of the incumbent, in its order.
var incumbentDoes = map[succession.Action][]string{
	succession.Pause:                {"pause"},
	succession.SendCommit:           {"send commit"},
	succession.ReadToken:            {"take the token"},
	succession.LeaveToHeir:          {"park", "send goodbye"},
	succession.Park:                 {"park"},
	succession.KeepDrop:             nil,
	succession.ApplyDrops:           {"close copy 1"},
	succession.ApplyDrop:            {"close copy 0"},
	succession.Supersede:            {"retire what is unclaimed: departing, Wait waits", "return from Upgrade: Wait goes on"},
	succession.SupersedeUnconfirmed: nil,
	succession.Release:              {"tell: released", "close the copies", "send released"},
	succession.SendReleased:         {"send released"},
	succession.SendPing:             {"send ping"},
	succession.SendBye:              {"send bye"},
	succession.Excuse:               nil,
	succession.CountTaken:           nil,
	succession.WarnStuck:            nil,
	succession.EndDeparture:         nil,
	succession.ReportOrphaned:       nil,
	succession.ReportBlocked:        nil,
	succession.Fence:                nil, // the successor is this process, which is not killed
	succession.Revive:               nil,
	succession.Reopen:               {"restore backlogs", "reopen"},
	succession.EndStale:             nil,
	succession.Dismiss:              {"send abort"},
	succession.DismissOwner:         {"send abort"},
}

// incumbentFrames are what the events need.
var incumbentFrames = map[succession.IncumbentEvent]wire.Message{
	succession.Confirm: &wire.Confirm{}, succession.Drop: &wire.Drop{Item: 0}, succession.Taken: &wire.Taken{},
}

// TestIncumbentOrder: each row of the table, with the rows that follow from what its actions report, is carried out as it says: each
// action once, in the table's order, and what an action does in its own order.
func TestIncumbentOrder(t *testing.T) {
	rows := 0
	for s := succession.Idle; s <= succession.Closed; s++ {
		for e := succession.Begin; e <= succession.CloseForHeir; e++ {
			if _, do, ok := s.Step(e); !ok || len(do) == 0 {
				continue
			}
			if e == succession.TokenTaken || e == succession.TokenGone || e == succession.Fenced || e == succession.Unkillable ||
				e == succession.Revived || e == succession.Behind || e == succession.Paused || e == succession.PauseFailed {
				continue // reports, which follow from other rows
			}
			for _, there := range []bool{true, false} {
				for _, fails := range []error{nil, errUnwell} {
					rows++
					t.Run(fmt.Sprintf("%v, %v, token %v, fails %v", s, e, there, fails != nil), func(t *testing.T) {
						r := newRig(t)
						r.there, r.fails = there, fails
						a := r.attempt(s)
						a.drops = []*wire.Drop{{Item: 1}}
						a.frame = incumbentFrames[e]
						if e == succession.BatchOverdue {
							a.departure = r.d.Conns.Depart(r.link, &wire.Confirm{}, func(int) (any, bool) { return nil, false })
						}
						superseding := r.d.superseding
						wait := func() string {
							if superseding.superseded.happened() {
								return "Wait goes on"
							}
							return "Wait waits"
						}
						r.look["return from Upgrade"] = wait
						r.look["retire what is unclaimed"] = func() string {
							if a.departureKnown {
								return "departing, " + wait()
							}
							return wait()
						}
						var want, events []string
						if e == succession.Agreed {
							want = append(want, "give")
						}
						if e == succession.Close && a.couldBeRevived() {
							want = append(want, "tell: released")
						}
						reopened := false
						for s, e, again := s, e, true; again; {
							next, do, ok := s.Step(e)
							if !ok {
								t.Fatalf("no row for %v in %v", e, s)
							}
							events = append(events, e.String())
							again = false
							s = next
							for _, action := range do {
								does, known := incumbentDoes[action]
								if !known {
									t.Fatalf("nobody says what is recorded of %v", action)
								}
								if action == succession.Reopen {
									reopened = true
								}
								if action == succession.Dismiss && !reopened {
									want = append(want, "restore backlogs")
								}
								want = append(want, does...)
								again = true
								switch action {
								case succession.Pause:
									if e = succession.Paused; fails != nil {
										e = succession.PauseFailed
									}
								case succession.ReadToken:
									if e = succession.TokenTaken; !there {
										e = succession.TokenGone
									}
								case succession.Fence:
									e = succession.Unkillable
								case succession.Revive:
									e = succession.Revived
								default:
									again = false
								}
							}
						}
						a.decide(e)
						got, decided := r.done()
						if !slices.Equal(got, want) {
							t.Errorf("done:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
						}
						if !sameEvents(decided, events) {
							t.Errorf("decided %q, want %q", decided, events)
						}
						a.departure.End(false)
					})
				}
			}
		}
	}
	if rows < 100 {
		t.Errorf("only %d rows", rows)
	}
}

// sameEvents: a row with Reopen is reported after what follows from it, so their order does not matter here.
func sameEvents(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// TestKill: a process that was killed counts as dead when it was seen dead, and not before.
func TestKill(t *testing.T) {
	for name, test := range map[string]struct {
		p    victim
		want []string
		ok   bool
	}{
		"dead":         {victim{dead: true}, []string{"dead?"}, true},
		"dies":         {victim{dies: true}, []string{"dead?", "kill", "await"}, true},
		"does not die": {victim{}, []string{"dead?", "kill", "await"}, false},
		"forbidden":    {victim{err: errUnwell}, []string{"dead?", "kill"}, false},
	} {
		err := kill(&test.p, time.Second)
		if (err == nil) != test.ok || !slices.Equal(test.p.record, test.want) {
			t.Errorf("%s: %v after %q, want %q", name, err, test.p.record, test.want)
		}
	}
}

type victim struct {
	dead, dies bool
	err        error
	record     []string
}

func (v *victim) Dead() bool  { v.record = append(v.record, "dead?"); return v.dead }
func (v *victim) Kill() error { v.record = append(v.record, "kill"); return v.err }
func (v *victim) Await(context.Context, time.Duration) bool {
	v.record = append(v.record, "await")
	return v.dies
}

// TestDeadlineOfState: the time of a state begins when it is entered, and not again when it is entered from itself.
func TestDeadlineOfState(t *testing.T) {
	r := newRig(t)
	a := r.attempt(succession.Committed)
	old := time.Now().Add(-time.Hour)
	a.entered = old
	a.frame = &wire.Drop{}
	a.decide(succession.Drop)
	if _, until, _ := a.deadline(a.state()); !until.Equal(old.Add(time.Minute)) {
		t.Errorf("until %v, %v after the state was entered", until, until.Sub(old))
	}
	a.decide(succession.Owned)
	if e, until, _ := a.deadline(a.state()); e != succession.Timeout || !until.After(time.Now()) {
		t.Errorf("%v at %v: that of the state before", e, until)
	}
	a.frame = &wire.Confirm{}
	a.decide(succession.Confirm)
	if e, until, _ := a.deadline(a.state()); e != succession.GuardOver || !until.Equal(a.guardEnds) {
		t.Errorf("%v at %v, want the end of the guard, %v", e, until, a.guardEnds)
	}
	a.guardReported = true
	a.decide(succession.ReleaseAsked)
	if _, until, _ := a.deadline(a.state()); !until.IsZero() {
		t.Errorf("a generation that is released waits until %v", until)
	}
}
