package supervise

import (
	"fmt"
	"slices"
	"syscall"
	"time"
)

// role is what a process is.
type role int

const (
	starting role = iota // it is not ready
	failing              // it was not ready in time, and is to end
	serving              // there is one at most
	draining             // another one has taken its place
)

// proc is a process of COMMAND: one that was started here, or a successor that such a one has started itself.
type proc struct {
	pid    int
	server int // the process that joined the rendezvous, if that is a descendant, such as below a shell; or pid
	role   role
	joined bool      // it has confirmed at the rendezvous: it hands over by itself
	since  time.Time // when it began to serve
	// waitsForItsTurn: it is ready, but cannot serve, since another one does that hands over by itself
	waitsForItsTurn bool
	rest            bool // it has ended, with status, and others of its process group have not
	status          int
}

// machine decides. Each method is an event, and returns what is to be done, in this order. It is not safe for concurrent use.
type machine struct {
	o       *Options
	sockets bool // COMMAND gets some
	procs   []*proc
	asked   bool           // for another generation, while one is starting
	served  bool           // one was ready, some time
	ends    bool           // nothing is started any more
	stays   bool           // until it is told to end
	stop    syscall.Signal // that has told it to end
	status  int            // of COMMAND, for the end
	failed  int            // failures in a row
	away    bool           // a process of somebody else has taken over at the rendezvous
	waiting bool           // for the end of a back-off
}

// action is something to be done. One field but the message is set, or none.
type action struct {
	start   bool // COMMAND
	signal  syscall.Signal
	group   bool // the signal is for the process group
	to      int  // the process that the signal is for
	kill    *deadline
	readyBy *deadline     // call tooLate
	again   time.Duration // call backedOff after that
	exit    bool          // with machine.status
	// refused: a wish for another generation, to who waits for the end of the attempt
	refused bool
	level   level
	msg     string
	args    []any
}

// deadline is when something is done to a process, if that is there still. Its number may be another one's by then.
type deadline struct {
	proc  *proc
	after time.Duration
}

type level int

const (
	quiet level = iota
	info
	warning
	levelError
)

// The back-off between a failure and the next start, and how long a process has to serve for it to begin anew.
const (
	backOffFirst = 100 * time.Millisecond
	backOffMost  = 10 * time.Second
	stable       = 10 * time.Second
)

// failGrace is how long a process that was not ready in time has to end by itself.
const failGrace = 5 * time.Second

func (m *machine) find(pid int) *proc {
	for _, p := range m.procs {
		if p.pid == pid || p.server == pid {
			return p
		}
	}
	return nil
}

// has reports whether a process has not ended.
func (m *machine) has(p *proc) bool { return slices.Contains(m.procs, p) }

// the returns the process with this role.
func (m *machine) the(r role) *proc {
	for _, p := range m.procs {
		if p.role == r {
			return p
		}
	}
	return nil
}

// program is COMMAND's, for messages.
func (m *machine) program() string {
	if len(m.o.Argv) == 0 {
		return ""
	}
	return m.o.Argv[0]
}

func tell(l level, msg string, args ...any) action { return action{level: l, msg: msg, args: args} }

// begin is the first event.
func (m *machine) begin() []action { return []action{{start: true}} }

// started: a start was asked for, and pid is the process.
func (m *machine) started(pid int) (*proc, []action) {
	p := &proc{pid: pid, server: pid, role: starting}
	m.procs = append(m.procs, p)
	return p, []action{{readyBy: &deadline{p, m.o.ReadyTimeout}}, tell(info, "started", "pid", pid, "program", m.program(), "rendezvous", m.o.Rendezvous)}
}

// notStarted: a start was asked for, and failed.
func (m *machine) notStarted(err error, status int) []action {
	if m.the(serving) != nil {
		return append([]action{tell(levelError, "the next process cannot be started; the old one serves on", "error", err)}, m.next()...)
	}
	acts := []action{tell(levelError, "COMMAND cannot be started", "program", m.program(), "error", err)}
	return append(acts, m.giveUpOrRetry(status)...)
}

// ready: p, which is starting, can serve. A process that is to take over at the rendezvous is ready when it has, which named
// tells.
func (m *machine) ready(p *proc, now time.Time) []action {
	if !m.has(p) || p.role != starting {
		return nil
	}
	if s := m.the(serving); s != nil && s.joined && !p.joined {
		p.waitsForItsTurn = true
		return nil
	}
	acts := []action{tell(info, "serving", "pid", p.pid)}
	acts = append(acts, m.serve(p, now)...)
	return append(acts, m.next()...)
}

// serve makes p the one that serves. The others drain.
func (m *machine) serve(p *proc, now time.Time) (acts []action) {
	for _, q := range m.procs {
		if q == p || q.role != serving {
			continue
		}
		q.role = draining
		if !p.joined || !q.joined { // otherwise it knows, drains, and has bounds of its own
			acts = append(acts, action{signal: m.o.DrainSignal, to: q.pid}, action{kill: &deadline{q, m.o.DrainTimeout}})
		}
	}
	p.role, p.since, m.served, m.away = serving, now, true, false
	return acts
}

// named: the PID file has been written, by pid, which descends from these. It serves, and has confirmed.
func (m *machine) named(pid int, ancestors []int, now time.Time) []action {
	p := m.find(pid)
	if p == nil {
		for _, a := range ancestors {
			if q := m.find(a); q != nil {
				if q.role == starting || q.role == failing || q.role == serving && !q.joined {
					p, q.server = q, pid
				}
				break
			}
		}
	}
	switch {
	case p == nil:
		p = &proc{pid: pid, server: pid, role: draining, joined: true}
		m.procs = append(m.procs, p)
		return append([]action{tell(info, "a successor serves that COMMAND has started itself", "pid", pid)}, m.serve(p, now)...)
	case p.role == serving:
		p.joined = true
		return nil
	case p.role == draining:
		return append([]action{tell(warning, "an older process serves again", "pid", pid)}, m.serve(p, now)...)
	}
	p.joined, p.role = true, starting
	return m.ready(p, now)
}

// displaced: p has said that it is superseded, by a process that is not of these. It drains. If that other one dies soon, p is
// named again.
func (m *machine) displaced(p *proc) []action {
	if p == nil || p.role != serving {
		return nil
	}
	p.role, m.away = draining, true
	return []action{tell(info, "another process has taken over at the rendezvous; this one drains", "pid", p.pid)}
}

// tooLate: p has had its time to become ready.
func (m *machine) tooLate(p *proc) []action {
	if !m.has(p) || p.role != starting {
		return nil
	}
	p.role = failing
	stays := ""
	if m.the(serving) != nil {
		stays = "; the old one serves on"
	}
	acts := []action{tell(levelError, "a new process was not ready in time and is ended"+stays, "pid", p.pid, "time", m.o.ReadyTimeout)}
	if s := m.the(serving); m.o.Ready.Joined || s != nil && s.joined {
		// SIGTERM would be a wish that the service ends, if it should own at this moment.
		return append(acts, action{signal: syscall.SIGKILL, group: true, to: p.pid})
	}
	return append(acts, action{signal: syscall.SIGTERM, to: p.pid}, action{kill: &deadline{p, failGrace}})
}

// overdue: p has had its time to end.
func (m *machine) overdue(p *proc) []action {
	if !m.has(p) || p.role == serving && !m.ends {
		return nil
	}
	acts := []action{tell(warning, "a process did not end in time and is killed", "pid", p.pid), {signal: syscall.SIGKILL, group: true, to: p.pid}}
	if p.rest {
		return append(acts, m.restEnded(p)...)
	}
	return acts
}

// restEnded: of the process group of p, which has ended, nobody is left.
func (m *machine) restEnded(p *proc) []action {
	if !m.has(p) || !p.rest {
		return nil
	}
	m.procs = slices.DeleteFunc(m.procs, func(q *proc) bool { return q == p })
	return append([]action{tell(info, "a process has drained", "pid", p.pid, "status", p.status)}, m.left(p.status)...)
}

// keeps reports whether others of the process group of p are to be given time when p has ended, with this status: what a shell
// has started, which does not pass signals on. In the group of a program that hands over by itself are its successors.
func (m *machine) keeps(p *proc, status int) bool {
	switch {
	case p.joined:
		return false
	case m.ends:
		return m.stop != 0
	case p.role == draining:
		return true
	default:
		return m.served && (status != 0 || m.the(starting) != nil || m.the(serving) != nil)
	}
}

// exited: a process of COMMAND has ended, with the status that a shell would show. rest: others of its process group have not.
func (m *machine) exited(pid, status int, rest bool, now time.Time) []action {
	p := m.find(pid)
	if p == nil || p.pid != pid {
		return nil // an orphan; or what a shell has waited for, which ends too
	}
	was := *p
	m.procs = slices.DeleteFunc(m.procs, func(q *proc) bool { return q == p })
	var acts []action
	if rest && m.keeps(p, status) {
		p.role, p.rest, p.status = draining, true, status
		m.procs = append(m.procs, p)
		sig := m.o.DrainSignal
		if m.stop != 0 {
			sig = m.stop
		}
		acts = []action{tell(info, "a process has ended and left others of its group, which are told to end", "pid", pid), {signal: sig, group: true, to: pid}}
		if m.stop == 0 && was.role != draining { // otherwise it has one
			acts = append(acts, action{kill: &deadline{p, m.o.DrainTimeout}})
		}
		if was.role == draining {
			return acts
		}
	}
	acts = append(acts, m.endedAs(&was, status, now)...)
	if q := m.the(starting); q != nil && q.waitsForItsTurn && m.the(serving) == nil {
		acts = append(acts, m.ready(q, now)...)
	}
	return acts
}

// endedAs: p, which is no process of these any more, has ended.
func (m *machine) endedAs(p *proc, status int, now time.Time) []action {
	pid := p.pid
	switch {
	case p.role == draining:
		acts := []action{tell(info, "a process has drained", "pid", pid, "status", status)}
		return append(acts, m.left(status)...)
	case p.role != serving && m.the(serving) != nil:
		acts := []action{tell(levelError, "a new process ended before it was ready; the old one serves on", "pid", pid, "status", status)}
		return append(acts, m.next()...)
	case p.role != serving && m.away && !m.ends:
		acts := []action{tell(levelError, "a new process ended before it was ready; another one serves at the rendezvous", "pid", pid, "status", status)}
		return append(acts, m.left(status)...)
	case m.ends:
		m.status = status
		return m.ended()
	case p.role == serving && status == 0 && m.the(starting) == nil:
		m.status, m.ends, m.stays = 0, true, m.o.Stay
		acts := []action{tell(info, "COMMAND has ended", "program", m.program(), "pid", pid, "status", status)}
		for _, q := range m.procs {
			acts = append(acts, action{kill: &deadline{q, m.o.StopTimeout}})
		}
		return append(acts, m.ended()...)
	case p.role == failing && status == 0:
		status = 1
	}
	if p.role == serving && now.Sub(p.since) >= stable {
		m.failed = 0
	}
	acts := []action{tell(levelError, "COMMAND has ended", "program", m.program(), "pid", pid, "status", status)}
	return append(acts, m.giveUpOrRetry(status)...)
}

// left: a process is gone that did not serve, with this status. If none is left, and somebody else serves, it is over.
func (m *machine) left(status int) []action {
	if m.away && !m.ends && len(m.procs) == 0 {
		m.status, m.ends, m.stays = status, true, m.o.Stay
	}
	return m.ended()
}

// giveUpOrRetry: nobody serves. COMMAND is started again, unless it has never served, or has failed too often.
func (m *machine) giveUpOrRetry(status int) []action {
	m.status = status
	m.failed++
	switch {
	case m.the(starting) != nil: // it will serve, or fail in its turn
		return nil
	case m.ends:
		return m.ended()
	case !m.served || m.failed > m.o.Restarts:
		acts := []action{tell(levelError, "COMMAND is not started again", "program", m.program(), "failures", m.failed)}
		m.ends = true
		for _, p := range m.procs {
			acts = append(acts, action{signal: syscall.SIGTERM, group: p.rest, to: p.pid}, action{kill: &deadline{p, m.o.StopTimeout}})
		}
		return append(acts, m.ended()...)
	}
	after := min(backOffFirst<<min(m.failed-1, 20), backOffMost)
	m.waiting, m.asked = true, false
	return []action{{again: after}, tell(warning, "COMMAND is started again", "program", m.program(), "in", after)}
}

// backedOff: the time after a failure is over. taken: somebody else has taken the rendezvous meanwhile, from whom another
// process would take over.
func (m *machine) backedOff(taken bool) []action {
	if !m.waiting {
		return nil
	}
	m.waiting = false
	if m.ends || m.the(serving) != nil || m.the(starting) != nil {
		return nil
	}
	if taken {
		m.away = true
		acts := []action{tell(warning, "COMMAND is not started again: another process serves at the rendezvous", "program", m.program())}
		return append(acts, m.left(m.status)...)
	}
	return []action{{start: true}}
}

// next starts what was asked for while another process was starting.
func (m *machine) next() []action {
	if m.ends {
		return m.ended()
	}
	if !m.asked || m.the(starting) != nil || m.the(failing) != nil {
		return nil
	}
	m.asked = false
	return m.hangUp()
}

// ended ends it all if nothing is left.
func (m *machine) ended() []action {
	if !m.ends || len(m.procs) > 0 {
		return nil
	}
	if m.stays {
		return []action{tell(info, "COMMAND has ended and is not started again; this process stays until SIGTERM")}
	}
	return []action{{exit: true}}
}

// signaled: this process got a signal.
func (m *machine) signaled(s syscall.Signal) (acts []action) {
	switch s {
	case syscall.SIGHUP:
		return m.hangUp()
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
		acts = append(acts, tell(info, "stopping", "signal", fmt.Sprint(s)))
		m.ends, m.stays, m.stop = true, false, s
		for _, p := range m.procs {
			acts = append(acts, action{signal: s, group: p.rest, to: p.server}, action{kill: &deadline{p, m.o.StopTimeout}})
		}
		return append(acts, m.ended()...)
	}
	for _, r := range []role{serving, starting} {
		if p := m.the(r); p != nil {
			return []action{{signal: s, to: p.server}}
		}
	}
	return nil
}

func (m *machine) hangUp() []action {
	s := m.the(serving)
	switch {
	case m.ends:
		return []action{tell(warning, "SIGHUP has no effect any more: this process stops")}
	case m.the(starting) != nil || m.the(failing) != nil:
		m.asked = true
		return []action{tell(info, "SIGHUP waits until the process that starts is ready")}
	case m.away:
		return []action{{refused: true}, tell(levelError, "SIGHUP is refused: another process has taken over at the rendezvous; replace that one, or start this one again")}
	case s == nil:
		m.waiting = false
		return []action{{start: true}}
	case !s.joined && !m.sockets:
		return []action{{refused: true}, tell(levelError, "SIGHUP is refused: COMMAND has not joined at SEGUE_RENDEZVOUS, and there is no --listen, "+
			"so a second process could not get its sockets")}
	}
	return []action{{start: true}}
}
