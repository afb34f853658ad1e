package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/control"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/timeline"
)

// poll is how often is looked for the owner while there is none.
const poll = 10 * time.Millisecond

// briefly is how long a path may be without a control socket before it is looked whether anybody is there at all: a moment is usual
// in a handoff.
const briefly = 100 * time.Millisecond

// errAgain is that whoever owns now is to be asked, if it goes on to be nobody: its text is why not.
var errAgain = errors.New("to be asked again")

// Status asks what the generations do: the one that serves, which comes first, and the older ones that drain. It takes Silence and
// Settle at most. A process of a release that says less of itself is the only one in it.
func (c *Client) Status(ctx context.Context) (chain timeline.Chain, err error) {
	err = c.ask(ctx, control.Request{Do: control.DoStatus}, func(q *question) error {
		var sockets []control.Socket
		for {
			a, err := q.next()
			if err != nil {
				return err
			}
			switch {
			case a.Event == control.Sockets && len(sockets)+len(a.Sockets) <= maxSockets:
				sockets = append(sockets, a.Sockets...)
			case a.Event == control.State && a.Status != nil:
				chain = chainOf(a, sockets)
				return nil
			}
		}
	})
	return chain, err
}

// History asks for the records of the last handoffs, the oldest first: timeline.MaxHandoffs at most. It takes as long as Status.
func (c *Client) History(ctx context.Context) (all []timeline.Handoff, err error) {
	err = c.ask(ctx, control.Request{Do: control.DoHistory}, func(q *question) error {
		all = nil
		for {
			a, err := q.next()
			switch {
			case err != nil:
				return err
			case a.Event == control.Handoff && a.Handoff != nil && len(all) < timeline.MaxHandoffs:
				all = append(all, *a.Handoff)
			case a.Event == control.Done && a.Code == control.CodeOK:
				return nil
			case a.Event == control.Done:
				return errorOf(a)
			}
		}
	})
	return all, err
}

// Retire has older generations that still drain end: the one of that number, or all of them if it is 0. Each cuts its drain as if
// handoff.Config.DrainTimeout were over; what it was answering is cut off then. Its guard goes on. It returns how many have ended;
// an error that is [ErrFailed] names those that have not in time, and how to end them.
func (c *Client) Retire(ctx context.Context, generation int) (ended int, err error) {
	err = c.ask(ctx, control.Request{Do: control.DoRetire, Generation: generation}, func(q *question) error {
		for {
			a, err := q.next()
			if err != nil {
				return err
			}
			if a.Event == control.Done {
				if ended = a.Count; a.Code != control.CodeOK {
					return errorOf(a)
				}
				return nil
			}
		}
	})
	return ended, err
}

// Watch calls see for what happens, from the present on, until ctx ends, whose cause it returns; or until nobody is there any more. It
// goes on with the process that serves next. What it is told first is how things stand. See is called by one goroutine; while it
// takes its time nobody waits, and changes of phase are lost that the process does not keep for so long: see is told how many.
func (c *Client) Watch(ctx context.Context, see func(Happening)) error {
	var last struct {
		phase  Happening
		record string
	}
	tell := func(h Happening) {
		switch h.Kind {
		case KindPhase: // whoever is asked anew says again how it stands
			if p := last.phase; p.Generation == h.Generation && p.Phase == h.Phase && p.Time.Equal(h.Time) {
				return
			}
			last.phase = h
		case KindHandoff: // likewise
			at := h.Handoff.ID + string(h.Handoff.Result) + fmt.Sprint(len(h.Handoff.Stages), len(h.Handoff.Halves))
			if at == last.record {
				return
			}
			last.record = at
		}
		see(h)
	}
	for {
		err := c.ask(ctx, control.Request{Do: control.DoWatch}, func(q *question) error {
			for {
				a, err := q.next()
				if err != nil {
					return err
				}
				h := Happening{Time: a.At, Generation: a.Generation, PID: a.PID, Successor: a.Successor}
				if h.Time.IsZero() {
					h.Time = time.Now()
				}
				switch {
				case a.Event == control.Phase:
					h.Kind, h.Phase = KindPhase, timeline.Phase(a.Phase)
				case a.Handoff != nil:
					h.Kind, h.Handoff = KindHandoff, a.Handoff
				case a.Event == control.Drain:
					h.Kind, h.Draining = KindDrain, a.Generations
				case a.Event == control.Lost:
					h.Kind, h.Missed = KindMissed, a.Count
				case a.Event == control.Done:
					return nil // it does not serve any more
				default:
					continue
				}
				tell(h)
			}
		})
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !errors.Is(err, ErrLost):
			return err
		}
	}
}

// Upgrade has the generation that serves start its successor and hand over to it, and returns nil when that has confirmed. see, if not
// nil, is called for each phase. An error that is [ErrFailed] says why the upgrade failed, and how the successor ended.
//
// The upgrade goes on if ctx ends first. It has bounds of its own (handoff.Config: ReadyTimeout, StateTimeout, Probation and
// others), and a process that says nothing for Silence is not waited for any longer.
func (c *Client) Upgrade(ctx context.Context, see func(Event)) error {
	return c.ask(ctx, control.Request{Do: control.DoUpgrade}, func(q *question) error {
		for {
			a, err := q.next()
			if err != nil {
				if q.begun == nil || !errors.Is(err, ErrLost) {
					return err
				}
				return c.lost(ctx, *q.begun, err)
			}
			switch a.Event {
			case control.Begun, control.Phase:
				if see != nil {
					see(Event{Generation: a.Generation, PID: a.PID, Phase: a.Phase, Successor: a.Successor, After: time.Duration(a.Millis) * time.Millisecond})
				}
			case control.Done:
				if a.Code == control.CodeOK {
					return nil
				}
				if a.Code == control.CodeElsewhere { // nothing was begun: somebody else has come first
					return fmt.Errorf("%w: %s", errAgain, a.Reason)
				}
				return errorOf(a)
			}
		}
	})
}

// lost finds out how an upgrade ended whose process has ended before it said so: a generation that follows it serves, or none does.
func (c *Client) lost(ctx context.Context, begun control.Answer, cause error) error {
	chain, err := c.Status(ctx)
	var s timeline.Generation
	if err == nil {
		s = chain.Generations[0]
	}
	if err == nil && s.Generation > begun.Generation && (s.Phase == "serving" || s.Phase == "offering") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; then: %v", cause, err) //nolint:errorlint // it is not what has happened to the upgrade
	}
	return fmt.Errorf("%w; process %d is %s now", cause, s.PID, s.Phase)
}

// Stop has the process that serves get SIGTERM, which ends programs of segue for good, and waits until it has ended. An older
// generation that still drains ends by itself when it is done.
func (c *Client) Stop(ctx context.Context) error {
	return c.ask(ctx, control.Request{Do: control.DoStop}, func(q *question) error {
		for {
			a, err := q.next()
			switch {
			case err != nil && q.begun == nil:
				return err
			case err == nil && a.Event == control.Done && a.Code != control.CodeOK:
				return errorOf(a)
			case err != nil || a.Event == control.Done:
				select {
				case <-q.process.Done():
					return nil
				case <-ctx.Done():
					return fmt.Errorf("it has got SIGTERM and goes on: %w", context.Cause(ctx))
				}
			}
		}
	})
}

// question is a connection to the process that is asked.
type question struct {
	conn    *net.UnixConn
	process *peer.Peer
	silence time.Duration
	ctx     context.Context //nolint:containedctx // of one call
	begun   *control.Answer // the request was accepted
	buf     []byte
}

// ask makes a request, and has hear read the answers. It asks again as long as nobody has accepted the request who can be the owner.
func (c *Client) ask(ctx context.Context, r control.Request, hear func(*question) error) error {
	do := r.Do
	path, err := filepath.Abs(c.Path)
	if err != nil || c.Path == "" {
		return &Error{Op: do, Path: c.Path, Err: errors.Join(errors.New("the path of the rendezvous is missing"), err)}
	}
	begun := time.Now()
	look := begun.Add(min(briefly, c.settle())) // once then, and once at the end: the process there logs it
	for {
		q := &question{silence: c.silence(), ctx: ctx, buf: make([]byte, control.MaxMessage+1)}
		err := c.try(q, path, r, hear)
		pid := 0
		if q.process != nil {
			pid = q.process.PID
			_ = q.process.Close()
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return &Error{Op: do, Path: path, PID: pid, Err: err}
		case !errors.Is(err, errAgain):
			return &Error{Op: do, Path: path, PID: pid, Err: err}
		case time.Now().Before(look):
		case pid != 0 && time.Since(begun) >= c.settle():
			return &Error{Op: do, Path: path, PID: pid, Err: fmt.Errorf("%w: %w", ErrSilent, err)}
		case errors.Is(err, ErrSilent) && time.Since(begun) >= c.settle():
			return &Error{Op: do, Path: path, Err: err}
		case pid == 0 && !errors.Is(err, ErrSilent):
			if gone := absent(path); gone != nil {
				return &Error{Op: do, Path: path, Err: gone}
			}
			if time.Since(begun) >= c.settle() {
				return &Error{Op: do, Path: path, Err: fmt.Errorf("%w: %w", ErrNoControl, err)}
			}
			look = begun.Add(c.settle())
		}
		t := time.NewTimer(poll)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

func (c *Client) try(q *question, path string, r control.Request, hear func(*question) error) error {
	conn, err := rendezvous.Path(path + control.Suffix).Dial()
	if err != nil {
		return diagnose(path, err)
	}
	defer func() { _ = conn.Close() }()
	q.conn = conn
	if q.process, err = rendezvous.IncumbentOf(conn); err != nil {
		if errors.Is(err, peer.ErrGone) {
			return fmt.Errorf("%w: %w", errAgain, err)
		}
		return err
	}
	if os.Geteuid() != 0 && !peer.SameUser(q.process.UID) {
		return fmt.Errorf("%w: it is of user %d", ErrForbidden, q.process.UID)
	}
	defer context.AfterFunc(q.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	r.Version = control.Version
	m, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_ = conn.SetWriteDeadline(time.Now().Add(q.silence))
	if _, err := conn.Write(m); err != nil {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	return hear(q)
}

// next returns the next answer. A refusal is an error.
func (q *question) next() (a control.Answer, err error) {
	_ = q.conn.SetReadDeadline(time.Now().Add(q.silence))
	if q.ctx.Err() != nil {
		return a, context.Cause(q.ctx)
	}
	n, err := q.conn.Read(q.buf)
	switch {
	case q.ctx.Err() != nil:
		return a, context.Cause(q.ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return a, fmt.Errorf("%w: nothing for %v", ErrSilent, q.silence)
	case (err != nil || n == 0) && q.begun == nil: // it has ended, or handed over, before it read the request
		return a, fmt.Errorf("%w: it hung up before it answered", errAgain)
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		return a, err
	case err != nil || n == 0:
		return a, fmt.Errorf("%w: process %d has ended meanwhile", ErrLost, q.process.PID)
	case n > control.MaxMessage:
		return a, fmt.Errorf("%w: it answers more than it may", ErrNoChain)
	}
	if err := json.Unmarshal(q.buf[:n], &a); err != nil {
		return a, fmt.Errorf("%w: it answers otherwise: %w", ErrNoChain, err)
	}
	switch a.Event {
	case control.Refused:
		if a.Code == control.CodeElsewhere {
			return a, fmt.Errorf("%w: %s", errAgain, a.Reason)
		}
		return a, errorOf(a)
	case control.Begun:
		q.begun = &a
	}
	return a, nil
}

// diagnose says why nobody is at the control socket of path. It is an errAgain if somebody may come.
func diagnose(path string, cause error) error {
	switch {
	case errors.Is(cause, unix.EACCES), errors.Is(cause, unix.EPERM):
		return fmt.Errorf("%w: %w", ErrForbidden, cause)
	case errors.Is(cause, unix.EAGAIN): // so many ask that they queue, or nobody accepts any more
		return fmt.Errorf("%w: %w: too many wait for its answer", errAgain, ErrSilent)
	case errors.Is(cause, unix.EPROTOTYPE):
		return fmt.Errorf("%w: something else listens at %s", ErrNoChain, path+control.Suffix)
	case !errors.Is(cause, unix.ECONNREFUSED) && !errors.Is(cause, os.ErrNotExist):
		return cause
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: there is no %s", ErrNobody, path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	case err != nil:
		return err
	case info.Mode()&os.ModeSymlink == 0 && info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%w: %s is no socket", ErrNoChain, path)
	}
	return fmt.Errorf("%w: nobody listens at %s", errAgain, path+control.Suffix)
}

// absent says why nobody is at the rendezvous; nil: somebody is, whose log has this as a caller who said nothing.
func absent(path string) error {
	conn, err := rendezvous.Path(path).Dial() // which its log has as a caller who said nothing
	switch {
	case err == nil:
		_ = conn.Close()
		return nil
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: the process that was at %s has ended", ErrNobody, path)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: there is no %s", ErrNobody, path)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%w: the queue of its rendezvous is full", ErrSilent)
	case errors.Is(err, unix.EPROTOTYPE):
		return fmt.Errorf("%w: something else listens at %s", ErrNoChain, path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	default:
		return err
	}
}
