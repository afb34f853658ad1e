package succession

import "fmt"

// A world is everything that decides what may happen next: up to three generations and one that was left behind, what
// is on its way between them, and who may still do what. It is small and comparable, so that a map can hold all that were
// seen.
type world struct {
	procs [slots]process
	links [slots]conn // of each process, to the one before it; that of the first is not used
	misc  uint32      // who has the duty to serve, and what the environment may still do
}

// The places of processes. leftover is a successor of the first that has handed back, and still lives when another
// attempt begins.
const (
	leftover = 3
	slots    = 4
)

var (
	before = [slots]int{-1, 0, 1, 0}  // the predecessor of each
	after  = [slots]int{1, 2, -1, -1} // the successor
)

// process is one generation.
type process struct {
	inc  Incumbent
	suc  Successor
	jobs uint8 // what each of its two sides does at the moment: actions that are not over at once
	life life
	bits uint16
}

type life uint8

const (
	absent life = iota
	running
	stopped // SIGSTOP
	killed  // dead, unwished
	ended   // dead, wished
)

func (p *process) alive() bool { return p.life == running || p.life == stopped }

// The bits of a process.
const (
	accepts    uint16 = 1 << iota // its sockets are open
	parked                        // they are out of the poller
	superseded                    // its drain has begun
	departing                     // its connections may move to the successor, or back to the incumbent
	announced                     // the PID file is its own
	promised                      // it has said RELEASED
	closing                       // its program wants its end, or has no more to do
	failing                       // its program has called Fail, or Check has failed
	killable
	began // to serve
)

func (p *process) has(b uint16) bool { return p.bits&b != 0 }
func (p *process) set(b uint16)      { p.bits |= b }
func (p *process) clear(b uint16)    { p.bits &^= b }

// job is an action that takes time.
type job uint8

const (
	noJob job = iota
	reading
	pausing
	fencing
	reviving
	opening
	putting
	puttingLast // and then it hangs up
	telling     // that the token is back
	tellingLast
	parting // the predecessor is not going to answer
)

func (p *process) incJob() job     { return job(p.jobs & 15) }
func (p *process) sucJob() job     { return job(p.jobs >> 4) }
func (p *process) setIncJob(j job) { p.jobs = p.jobs&0xf0 | uint8(j) }
func (p *process) setSucJob(j job) { p.jobs = p.jobs&0x0f | uint8(j)<<4 }

// conn is a link, with its token.
type conn struct {
	up, down queue // frames to the incumbent, and to the successor
	bits     uint32
}

// The bits of a conn.
const (
	hasToken uint32 = 1 << iota // the eventfd holds the 1
	took                        // the successor has read it, and has not put it back
	upHung                      // the successor's end is closed
	downHung                    // the incumbent's
	active                      // the incumbent's table is about this link
	aborted                     // the successor was told ABORT, and has to hang up
	returns                     // the successor moves its connections back
	endSeen                     // the incumbent was told of the end
	deathSeen
	guardOver
	prepared  // PREPARED was read
	asked     // for RELEASED
	returned  // FAILED with returned was read
	heir      // so the successor was told
	foreign   // somebody else started the successor
	settled   // the Sources of the successor were told that nothing goes back
	overdue   // a batch was not answered
	dropRead  // a DROP was read, and nothing done about it
	dropKept  // it is kept
	takenRead // a TAKEN was read, and nothing done about it
	connsRead // a CONNS was read, and nothing done about it
	mine      // the incumbent has read the token
	upgrade   // an UPGRADE was read, and nothing done about it
	wished    // the incumbent knows that somebody wished the successor's death
	relieved  // the successor has said GOODBYE, and has not taken it back
)

func (l *conn) has(b uint32) bool { return l.bits&b != 0 }
func (l *conn) set(b uint32)      { l.bits |= b }
func (l *conn) clear(b uint32)    { l.bits &^= b }

// frame is a message. 0 is none.
type frame uint8

const (
	fPrepared frame = iota + 1
	fOwned
	fConfirm
	fReturned
	fFailed
	fGoodbye
	fRelease
	fPong
	fDrop
	fTaken
	fConns
	fOther
	upFrames
)

const (
	fCommit frame = iota + 1
	fAbort
	fLeaves
	fPing
	fReleased
	fConnsDown
	fConfirmDown
	fTakenDown
	fUpgrade
	fBye
	fOtherDown
	downFrames
)

var upEvents = [upFrames]IncumbentEvent{
	fPrepared: OtherFrame, fOwned: Owned, fConfirm: Confirm, fReturned: Returned, fFailed: Failed, fGoodbye: SuccessorLeaves,
	fRelease: ReleaseAsked, fPong: Pong, fDrop: Drop, fTaken: Taken, fConns: OtherFrame, fOther: OtherFrame,
}

var downEvents = [downFrames]SuccessorEvent{
	fCommit: Commit, fAbort: Aborted, fLeaves: PredecessorLeaves, fPing: Ping, fReleased: ReleasedSaid, fConnsDown: Conns,
	fConfirmDown: Confirmation, fTakenDown: ReturnTaken, fUpgrade: UpgradeAsked, fBye: Bye, fOtherDown: Unexpected,
}

// queue is up to eight frames, four bits each, the oldest in the lowest.
type queue uint32

func (q queue) head() frame { return frame(q & 15) }
func (q queue) len() int {
	n := 0
	for ; q != 0; q >>= 4 {
		n++
	}
	return n
}

// put adds f, and reports whether there was room.
func (q *queue) put(f frame) bool {
	n := q.len()
	if n == 8 {
		return false
	}
	*q |= queue(f) << (4 * n)
	return true
}

// What misc holds.
const (
	dutyMask     = 7 // the slot of the process that must serve, or noDuty
	noDuty       = 7
	attemptShift = 3 // attempts to begin
	attemptMask  = 3
	extraShift   = 5 // frames that decide nothing, to be sent
	extraMask    = 7
	cutShift     = 8 // links to break
	cutMask      = 1
	budgetShift  = 9 // what may go wrong
	budgetMask   = 7
)

func (w *world) duty() int { return int(w.misc & dutyMask) }
func (w *world) setDuty(p int) {
	w.misc = w.misc&^dutyMask | uint32(p) //nolint:gosec // a slot
}
func (w *world) attempts() int { return int(w.misc >> attemptShift & attemptMask) }
func (w *world) extras() int   { return int(w.misc >> extraShift & extraMask) }
func (w *world) budget() int   { return int(w.misc >> budgetShift & budgetMask) }
func (w *world) cuts() int     { return int(w.misc >> cutShift & cutMask) }

var slotNames = [slots]string{"A", "B", "C", "B'"}

// String is a line that a person can read.
func (w world) String() string {
	s := ""
	for i := range w.procs {
		p, l := &w.procs[i], &w.links[i]
		if p.life == absent {
			continue
		}
		if s != "" {
			s += " | "
		}
		s += fmt.Sprintf("%s %v/%v", slotNames[i], p.suc, p.inc)
		s += [...]string{"", "", " stopped", " killed", " ended"}[p.life]
		for _, b := range []struct {
			bit  uint16
			name string
		}{{accepts, "accepts"}, {closing, "closing"}, {promised, "promised"}} {
			if p.has(b.bit) {
				s += " " + b.name
			}
		}
		if i > 0 {
			s += fmt.Sprintf(" (up%s down%s", frameText(l.up, upNames[:]), frameText(l.down, downNames[:]))
			for _, b := range []struct {
				bit  uint32
				name string
			}{{hasToken, "token"}, {took, "took"}, {upHung, "hung"}, {downHung, "cut"}, {active, "active"}, {aborted, "aborted"}, {returns, "returns"}, {heir, "heir"}} {
				if l.has(b.bit) {
					s += " " + b.name
				}
			}
			s += ")"
		}
	}
	return s
}

var upNames = [upFrames]string{"", "PREPARED", "OWNED", "CONFIRM", "RETURNED", "FAILED", "GOODBYE", "RELEASE", "PONG", "DROP", "TAKEN", "CONNS", "OTHER"}
var downNames = [downFrames]string{"", "COMMIT", "ABORT", "GOODBYE", "PING", "RELEASED", "CONNS", "CONFIRM", "TAKEN", "UPGRADE", "BYE", "OTHER"}

func frameText(q queue, names []string) string {
	s := ""
	for ; q != 0; q >>= 4 {
		s += " " + names[q.head()]
	}
	return s
}
