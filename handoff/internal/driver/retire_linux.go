package driver

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segue-go/segue/handoff/internal/control"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

const (
	// retireWithin is how long one generation has to end that was asked to. Its own guard comes on top: that goes on.
	retireWithin = 10 * time.Second
	// retireAgain is how often it is asked, since RETIRE is left out where the link is full, and has no answer.
	retireAgain = time.Second
	// retireLook is how often is looked whether it has ended.
	retireLook = 50 * time.Millisecond
)

// retire ends the drain of this generation, as if DrainTimeout were over, or passes that on to an older one. It waits for nobody.
func (d *Driver) retire(generation int) {
	d.mu.Lock()
	number, phase, s, p := d.number, d.phase, d.superseding, d.predecessor
	d.mu.Unlock()
	switch {
	case generation < number && p != nil && p.retires && !p.gone.happened():
		p.link.Offhand(&wire.Retire{Generation: generation})
	case generation == number && phase == succession.PhaseDraining && s.retire():
		d.log.Info("asked to end the drain")
	}
}

// target is an older generation.
type target struct{ generation, pid int }

func (t target) String() string {
	return "generation " + strconv.Itoa(t.generation) + ", process " + strconv.Itoa(t.pid)
}

// older returns the generations before this one that live and drain, the oldest first, as far as they have told it. The one before
// it is known by its link, too.
func (d *Driver) older() (all []target) {
	d.mu.Lock()
	number, p := d.number, d.predecessor
	if d.phase == succession.PhaseProbation {
		p = nil // it does not drain
	}
	d.mu.Unlock()
	d.annals.mu.Lock()
	for _, g := range d.annals.others {
		all = append(all, target{g.Generation, g.PID})
	}
	d.annals.mu.Unlock()
	if p != nil && !p.gone.happened() && !slices.ContainsFunc(all, func(t target) bool { return t.generation == number-1 }) {
		all = append(all, target{number - 1, p.link.Peer.PID})
	}
	slices.SortFunc(all, func(a, b target) int { return a.generation - b.generation })
	return all
}

// retireByControl asks older generations that drain to end: one of that number, or all if it is 0. The oldest comes first, because
// what is known of it comes through the others. It goes on as long as p hears that.
func (d *Driver) retireByControl(p *peer.Peer, generation int, say func(control.Answer) error) {
	begun := time.Now()
	d.mu.Lock()
	number, predecessor := d.number, d.predecessor
	d.mu.Unlock()
	answer := func(a control.Answer) bool {
		a.Generation, a.Millis = number, time.Since(begun).Milliseconds()
		return say(a) == nil
	}
	if generation >= number {
		answer(control.Answer{
			Event: control.Refused, Code: control.CodeFailed, Phase: d.Phase().String(),
			Reason: "generation " + strconv.Itoa(generation) + " is not older than the one that serves, " + strconv.Itoa(number),
		})
		return
	}
	all := slices.DeleteFunc(d.older(), func(t target) bool { return generation != 0 && t.generation != generation })
	if len(all) > 0 && (predecessor == nil || !predecessor.retires) {
		answer(control.Answer{
			Event: control.Refused, Code: control.CodeUnknown,
			Reason: join(all) + " is of an older release, and cannot be asked to end; end it: kill -TERM " + strconv.Itoa(all[len(all)-1].pid),
		})
		return
	}
	if !answer(control.Answer{Event: control.Begun}) {
		return
	}
	var left []target
	for _, t := range all {
		d.log.Info("an older generation is asked to end its drain", "asked", t.generation, "pid", t.pid, "by", p.String())
		ended, heard := d.retireOne(t, func() bool { return answer(control.Answer{Event: control.Alive}) })
		if !heard {
			return
		}
		if !ended {
			left = append(left, t)
		}
	}
	a := control.Answer{Event: control.Done, Code: control.CodeOK, Count: len(all) - len(left)}
	if len(left) > 0 {
		a.Code, a.Reason, a.Phase = control.CodeFailed, join(left)+" was asked to end and has not: it may be stopped, or its program does not end its drain; "+
			"look at it, or end it: kill -KILL "+strconv.Itoa(left[0].pid), d.Phase().String()
	}
	answer(a)
}

// retireOne asks t to end until it has. alive reports whether somebody still wants that.
func (d *Driver) retireOne(t target, alive func() bool) (ended, heard bool) {
	over := time.NewTimer(retireWithin + max(d.cfg.Guard, 0))
	defer over.Stop()
	again, look := time.NewTicker(retireAgain), time.NewTicker(retireLook)
	defer again.Stop()
	defer look.Stop()
	d.retire(t.generation)
	for slices.Contains(d.older(), t) {
		select {
		case <-look.C:
		case <-again.C:
			d.retire(t.generation)
			if !alive() {
				return false, false
			}
		case <-over.C:
			return false, true
		case <-d.ctx.Done():
			return false, false
		}
	}
	return true, true
}

func join(all []target) string {
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = t.String()
	}
	return strings.Join(names, "; ")
}
