package supervise

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// play gives a machine events, in words, and returns what it does, in words too.
type play struct {
	t   *testing.T
	m   machine
	now time.Time
}

func newPlay(t *testing.T, sockets bool, o Options) *play {
	o.DrainSignal, o.Restarts = syscall.SIGTERM, 2
	p := &play{t: t, now: time.Unix(0, 0)}
	p.m.o, p.m.sockets = &o, sockets
	p.wants(p.m.begin(), "start")
	_, acts := p.m.started(1)
	p.wants(acts, "ready 1") // its time is bounded
	return p
}

// wants compares what is to be done, without what is only said.
func (p *play) wants(acts []action, want ...string) {
	p.t.Helper()
	var got []string
	for _, a := range acts {
		switch {
		case a.start:
			got = append(got, "start")
		case a.signal != 0:
			whom := string(rune('0' + a.to))
			if a.group {
				whom = "group " + whom
			}
			got = append(got, a.signal.String()+" "+whom)
		case a.again > 0:
			got = append(got, "again in "+a.again.String())
		case a.exit:
			got = append(got, "exit")
		case a.kill != nil:
			got = append(got, "bound "+string(rune('0'+a.kill.proc.pid)))
		case a.readyBy != nil:
			got = append(got, "ready "+string(rune('0'+a.readyBy.proc.pid)))
		case a.refused:
			got = append(got, "refused")
		}
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("does %q, want %q", got, want)
	}
}

// says wants a message.
func (p *play) says(acts []action, msg string) []action {
	p.t.Helper()
	if !slices.ContainsFunc(acts, func(a action) bool { return strings.Contains(a.msg, msg) }) {
		p.t.Errorf("does not say %q: %v", msg, acts)
	}
	return acts
}

func TestMachineSockets(t *testing.T) {
	p := newPlay(t, true, Options{})
	p.wants(p.m.ready(p.m.find(1), p.now))
	p.wants(p.m.signaled(syscall.SIGHUP), "start")
	p.m.started(2)
	p.wants(p.m.signaled(syscall.SIGHUP)) // it waits
	p.wants(p.m.signaled(syscall.SIGABRT), "aborted 1")
	p.wants(p.m.ready(p.m.find(2), p.now), "terminated 1", "bound 1", "start")
	p.m.started(3)
	p.wants(p.m.exited(1, 0, false, p.now))
	p.wants(p.says(p.m.exited(3, 5, false, p.now), "the old one serves on"))
	p.wants(p.m.exited(9, 5, false, p.now)) // an orphan
	p.wants(p.m.signaled(syscall.SIGTERM), "terminated 2", "bound 2")
	p.wants(p.m.signaled(syscall.SIGHUP))
	p.wants(p.m.overdue(p.m.find(2)), "killed group 2")
	p.wants(p.m.exited(2, 137, false, p.now), "exit")
	if p.m.status != 137 {
		t.Errorf("status %d", p.m.status)
	}
}

func TestMachineCrash(t *testing.T) {
	p := newPlay(t, true, Options{})
	p.m.ready(p.m.find(1), p.now)
	p.wants(p.m.exited(1, 139, false, p.now), "again in 100ms")
	p.wants(p.m.backedOff(false), "start")
	p.wants(p.m.notStarted(errors.New("gone"), 127), "again in 200ms")
	p.wants(p.m.backedOff(false), "start")
	p.m.started(2)
	p.m.ready(p.m.find(2), p.now)
	p.now = p.now.Add(stable)
	p.wants(p.m.exited(2, 139, false, p.now), "again in 100ms") // it was well for long enough
	p.wants(p.m.signaled(syscall.SIGHUP), "start")              // somebody does not want to wait
	p.wants(p.m.backedOff(false))
	p.m.started(3)
	p.wants(p.m.exited(3, 1, false, p.now), "again in 200ms")
	p.wants(p.m.backedOff(false), "start")
	p.m.started(4)
	p.wants(p.m.exited(4, 3, false, p.now), "exit")
	if p.m.status != 3 {
		t.Errorf("status %d", p.m.status)
	}
}

func TestMachineRendezvous(t *testing.T) {
	p := newPlay(t, false, Options{})
	p.m.ready(p.m.find(1), p.now) // by its time
	p.wants(p.says(p.m.signaled(syscall.SIGHUP), "refused"), "refused")
	p.wants(p.m.named(6, []int{1}, p.now)) // below a shell
	p.wants(p.m.signaled(syscall.SIGHUP), "start")
	p.m.started(2)
	p.wants(p.m.ready(p.m.find(2), p.now)) // it has to take over
	if s := p.m.the(serving); s.pid != 1 {
		t.Errorf("process %d serves", s.pid)
	}
	p.wants(p.m.named(2, nil, p.now)) // it has; the other one knows
	p.wants(p.m.exited(2, 139, false, p.now), "again in 100ms")
	p.wants(p.says(p.m.named(6, []int{1}, p.now), "serves again"))
	p.wants(p.m.backedOff(false))
	p.wants(p.says(p.m.named(7, []int{6, 1}, p.now), "has started itself"))
	p.wants(p.m.exited(1, 0, false, p.now))
	p.wants(p.m.signaled(syscall.SIGHUP), "start")
	p.m.started(3)
	p.wants(p.m.tooLate(p.m.find(3)), "killed group 3") // not SIGTERM, which would be a wish
	p.wants(p.m.exited(3, 137, false, p.now))
	p.wants(p.m.signaled(syscall.SIGINT), "interrupt 7", "bound 7")
	p.wants(p.m.exited(7, 0, false, p.now), "exit")
}

func TestMachineStays(t *testing.T) {
	p := newPlay(t, false, Options{Stay: true})
	p.m.named(1, nil, p.now)
	p.wants(p.says(p.m.exited(1, 0, false, p.now), "stays until SIGTERM"))
	p.wants(p.m.signaled(syscall.SIGHUP)) // not even that starts anything
	p.wants(p.m.signaled(syscall.SIGTERM), "exit")
}

func TestMachineEndsWell(t *testing.T) {
	p := newPlay(t, false, Options{})
	p.m.named(1, nil, p.now)
	p.m.signaled(syscall.SIGHUP)
	p.m.started(2)
	p.m.named(2, nil, p.now)
	p.wants(p.m.exited(2, 0, false, p.now), "bound 1") // somebody has stopped it; what drains is waited for
	p.wants(p.m.exited(1, 0, false, p.now), "exit")
}

// TestMachineNumbers: what was to happen to a process does not happen to another one that has got its number since.
func TestMachineNumbers(t *testing.T) {
	p := newPlay(t, true, Options{})
	p.m.ready(p.m.find(1), p.now)
	p.m.signaled(syscall.SIGHUP)
	first, _ := p.m.started(5)
	p.m.exited(5, 1, false, p.now)
	p.m.signaled(syscall.SIGHUP)
	second, _ := p.m.started(5)
	p.wants(p.m.tooLate(first))
	p.wants(p.m.overdue(first))
	p.wants(p.m.ready(first, p.now))
	p.wants(p.m.tooLate(second), "terminated 5", "bound 5")
}

// TestMachineStanding: what who has started this process is told.
func TestMachineStanding(t *testing.T) {
	p := newPlay(t, true, Options{Stay: true})
	is := func(serves, replaces, stops bool, text string) {
		t.Helper()
		if got, want := p.m.standing(), (standing{serves: serves, replaces: replaces, stops: stops, text: text}); got.serves != serves ||
			got.replaces != replaces || got.stops != stops || got.text != text {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	is(false, false, false, "nobody serves, process 1 starts")
	p.m.ready(p.m.find(1), p.now)
	is(true, false, false, "process 1 serves")
	p.m.signaled(syscall.SIGHUP)
	p.m.started(2)
	is(true, true, false, "process 1 serves, process 2 starts")
	p.m.tooLate(p.m.find(2))
	is(true, true, false, "process 1 serves, process 2 starts")
	p.m.exited(2, 1, false, p.now)
	is(true, false, false, "process 1 serves")
	p.m.exited(1, 1, false, p.now)
	is(false, false, false, "nobody serves; COMMAND is started again after 1 failures")
	p.m.backedOff(false)
	p.m.started(3)
	p.m.ready(p.m.find(3), p.now)
	p.m.exited(3, 0, false, p.now)
	is(false, false, false, "COMMAND has ended; stays until SIGTERM")
	p.m.signaled(syscall.SIGTERM)
	is(false, false, true, "stops; 0 processes have not ended")
}

// TestMachineDisplaced: another container's process has taken over. The end of the one that drains is no crash.
func TestMachineDisplaced(t *testing.T) {
	for _, stay := range []bool{false, true} {
		p := newPlay(t, false, Options{Stay: stay})
		p.m.named(1, nil, p.now)
		p.wants(p.says(p.m.displaced(p.m.find(1)), "has taken over"))
		if now := p.m.standing(); now.serves || !now.well {
			t.Errorf("%+v", now)
		}
		p.wants(p.m.displaced(p.m.find(1)))
		p.wants(p.says(p.m.signaled(syscall.SIGHUP), "refused"), "refused")
		p.wants(p.says(p.m.named(1, nil, p.now), "serves again"))
		p.wants(p.m.signaled(syscall.SIGHUP), "start")
		p.m.started(2)
		p.wants(p.m.displaced(p.m.find(1)))
		p.wants(p.m.exited(2, 1, false, p.now)) // it has lost the race
		if stay {
			p.wants(p.says(p.m.exited(1, 137, false, p.now), "stays until SIGTERM"))
			p.wants(p.m.signaled(syscall.SIGTERM), "exit")
		} else {
			p.wants(p.m.exited(1, 137, false, p.now), "exit")
		}
		if p.m.status != 137 {
			t.Errorf("status %d", p.m.status)
		}
	}
}

// TestMachineTaken: another container's process has come to the rendezvous while nobody served.
func TestMachineTaken(t *testing.T) {
	p := newPlay(t, false, Options{})
	p.m.named(1, nil, p.now)
	p.wants(p.m.exited(1, 137, false, p.now), "again in 100ms")
	p.wants(p.says(p.m.backedOff(true), "another process serves"), "exit")
	if p.m.status != 137 {
		t.Errorf("status %d", p.m.status)
	}
}

// TestMachineRest: a shell has ended and what it has started has not.
func TestMachineRest(t *testing.T) {
	p := newPlay(t, true, Options{})
	p.m.ready(p.m.find(1), p.now)
	p.m.signaled(syscall.SIGHUP)
	p.m.started(2)
	p.wants(p.m.ready(p.m.find(2), p.now), "terminated 1", "bound 1")
	first := p.m.find(1)
	p.wants(p.m.exited(1, 143, true, p.now), "terminated group 1") // now for its group
	p.wants(p.says(p.m.restEnded(first), "has drained"))
	p.wants(p.m.restEnded(first))
	second := p.m.find(2)
	p.wants(p.m.exited(2, 137, true, p.now), "terminated group 2", "bound 2", "again in 100ms")
	p.wants(p.m.backedOff(false), "start")
	p.m.started(3)
	p.m.ready(p.m.find(3), p.now)
	third := p.m.find(3)
	p.wants(p.m.signaled(syscall.SIGTERM), "terminated group 2", "bound 2", "terminated 3", "bound 3")
	p.wants(p.m.exited(3, 143, true, p.now), "terminated group 3")
	p.wants(p.m.restEnded(second))
	p.wants(p.m.overdue(third), "killed group 3", "exit") // who is waited for by nobody must not keep it
	if p.m.status != 143 {
		t.Errorf("status %d", p.m.status)
	}
}

// TestMachineRestJoined: in the group of a program that hands over are its successors.
func TestMachineRestJoined(t *testing.T) {
	p := newPlay(t, false, Options{})
	p.m.named(1, nil, p.now)
	p.m.named(7, []int{1}, p.now)
	p.wants(p.m.exited(1, 0, true, p.now))
	if s := p.m.the(serving); s == nil || s.pid != 7 {
		t.Errorf("%+v serves", s)
	}
}

// TestMachineReady: a process that cannot serve beside one that hands over by itself serves when that has ended.
func TestMachineReady(t *testing.T) {
	p := newPlay(t, true, Options{})
	p.m.named(1, nil, p.now)
	p.m.signaled(syscall.SIGHUP)
	second, _ := p.m.started(2)
	p.wants(p.m.ready(second, p.now))
	p.wants(p.says(p.m.exited(1, 139, false, p.now), "serving"))
	if s := p.m.the(serving); s != second {
		t.Errorf("%+v serves", s)
	}
	p.wants(p.m.tooLate(second))
}

// TestMachineJoined: a process that has to join gets no SIGTERM when it is too late, which would be a wish that the service ends, if it
// should own at this moment. The first one, too.
func TestMachineJoined(t *testing.T) {
	p := newPlay(t, false, Options{Ready: Ready{Joined: true}})
	p.wants(p.m.tooLate(p.m.find(1)), "killed group 1")
}

// TestMachineTooLate: a process that was too late, and is about to be ended, serves if it confirms before it ends.
func TestMachineTooLate(t *testing.T) {
	p := newPlay(t, false, Options{})
	p.m.named(1, nil, p.now)
	p.m.signaled(syscall.SIGHUP)
	second, _ := p.m.started(2)
	p.wants(p.m.tooLate(second), "killed group 2")
	p.wants(p.says(p.m.named(2, nil, p.now), "serving"))
	if s := p.m.the(serving); s != second || p.m.find(1).role != draining {
		t.Errorf("%+v serves", s)
	}

	p = newPlay(t, true, Options{})
	first := p.m.find(1)
	p.wants(p.m.tooLate(first), "terminated 1", "bound 1") // it is not known yet that it joins
	p.wants(p.says(p.m.named(7, []int{1}, p.now), "serving"))
	if s := p.m.the(serving); s != first || s.server != 7 || !s.joined {
		t.Errorf("%+v serves", s)
	}
}
