package integration

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxBatch is how many connections a message carries (handoff/internal/migrate: batchLen).
const maxBatch = 128

// moveCase is one process hit while connections move.
type moveCase struct {
	side, way, fault string
	late             bool // of a stop: continued only when the other side has given up
}

func (c moveCase) name() string {
	s := c.side + "/" + c.way + "/" + c.fault
	if c.late {
		s += " for long"
	}
	return strings.ReplaceAll(s, " ", "_")
}

// TestDeathWhileMoving kills and stops a successor while hundreds of idle connections move to it. What it had not
// acknowledged lives in the incumbent.
func TestDeathWhileMoving(t *testing.T) {
	var cases []moveCase
	for i, fault := range []string{
		// The first TAKEN is that of the offer.
		"kill sent confirm", "kill received conns", "kill sent taken#2", "kill received conns#2", "kill sent taken#3",
		"kill received conns#3", "kill sent confirm+500us", "kill sent confirm+2ms", "kill received conns+1ms",
		"kill received conns#2+3ms",
	} {
		cases = append(cases, moveCase{"successor", ways[i%2], fault, false})
	}
	for i, fault := range []string{"stop received conns", "stop sent taken#2", "stop received conns#3", "stop received conns+1ms"} {
		cases = append(cases, moveCase{"successor", ways[i%2], fault, false}, moveCase{"successor", ways[(i+1)%2], fault, true})
	}
	for i, fault := range []string{"kill sent conns", "kill sent conns#2", "kill received taken#3", "stop sent conns#2"} {
		cases = append(cases, moveCase{"incumbent", ways[i%2], fault, false})
	}
	for _, c := range cases {
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c moveCase) run(t *testing.T) {
	const n = 800
	w := newWorld(t, "http")
	w.conf.Traced, w.conf.DrainTimeout = true, time.Minute
	kill := strings.HasPrefix(c.fault, "kill")
	if kill {
		w.conf.Guard = time.Minute
	}
	if c.late { // it is found out when the guard would end
		w.conf.Guard, w.conf.StepTimeout = 300*time.Millisecond, 400*time.Millisecond
	}
	if c.side == "incumbent" {
		w.conf.Fault = c.fault
	}
	a := w.firstHTTP()
	ks := w.crowd(n, a.pid)
	w.conf.Fault = ""
	if c.side == "successor" {
		w.conf.Fault = c.fault
	}
	mark := w.mark()
	b := w.succeed(c.way, a, "http")
	w.conf.Fault = ""
	hit := b
	if c.side == "incumbent" {
		hit = a
	}
	w.wait(mark, hit.pid, "fault", "")
	if !kill {
		w.stopped(hit)
		if c.late {
			w.ended(b) // the incumbent has made sure of it
		} else {
			w.signal(hit, unix.SIGCONT)
		}
	}
	owner := b
	switch {
	case c.side == "incumbent" && kill:
		w.ended(a)
		w.wait(mark, b.pid, "phase", "serving")
		got := count(t, ks)
		if got.by[b.pid]+got.dropped != n {
			t.Errorf("of %d connections: %+v", n, got)
		}
		// What was acknowledged is not the incumbent's any more.
		taken := w.count(mark, of(b.pid, "sent", "taken")) - 1
		if got.by[b.pid] < taken {
			t.Errorf("%d connections live, of %d batches that were acknowledged", got.by[b.pid], taken)
		}
		ks = got.stay
	case c.side == "successor" && (kill || c.late):
		w.ended(b)
		w.wait(mark, a.pid, "log", "this generation serves again")
		got := count(t, ks)
		c.judge(t, w, mark, a, b, n, got)
		ks, owner = got.stay, a
	default: // it was no more than a pause
		w.ended(a)
		count(t, ks).allBy(t, b.pid, n)
	}
	// Whatever it was, the next upgrade moves what is left.
	w.conf.StepTimeout, w.conf.Guard = 5*time.Second, 400*time.Millisecond
	next := w.take(map[string]string{"upgrade": "join", "join": "upgrade"}[c.way], owner, "http")
	if kill || c.late { // the guard of the one that was revived is long, but nothing keeps it
		w.wait(0, owner.pid, "log", "superseded")
	} else {
		w.ended(owner)
	}
	c.settled(t, w, ks, next)
}

// settled waits until all connections of a crowd are answered by one process.
func (c moveCase) settled(t *testing.T, w *world, ks []*lane, p *proc) {
	t.Helper()
	var got census
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); { // nothing tells how far the move is
		got = count(t, ks)
		if got.by[p.pid] == len(ks) || got.dropped > 0 || len(got.leaving) > 0 {
			break
		}
	}
	got.allBy(t, p.pid, len(ks))
}

// judge compares what a dead successor has taken along with what it had acknowledged.
func (c moveCase) judge(t *testing.T, w *world, mark int, a, b *proc, n int, got census) {
	t.Helper()
	if got.by[a.pid]+got.dropped != n || len(got.leaving) > 0 {
		t.Errorf("of %d connections: the incumbent answers %d, %d are gone, told to leave %v", n, got.by[a.pid], got.dropped,
			got.leaving)
	}
	// As the incumbent knows it; the last acknowledgement of the successor may have been on its way. The first TAKEN is
	// that of the offer.
	taken := w.count(mark, of(a.pid, "received", "taken")) - 1
	told := w.count(mark, of(b.pid, "sent", "taken")) - 1
	t.Logf("%d of %d connections are gone, %d batches acknowledged (the successor says %d), %d sent", got.dropped, n, taken,
		told, w.count(mark, of(a.pid, "sent", "conns")))
	if got.dropped > taken*maxBatch || got.dropped < taken {
		t.Errorf("%d connections are gone with the successor, which had acknowledged %d batches", got.dropped, taken)
	}
}

// TestDeathInProbation: what a successor serves before it has confirmed dies with it, and no idle connection of the
// incumbent's.
func TestDeathInProbation(t *testing.T) {
	t.Parallel()
	const n = 200
	w := newWorld(t, "http")
	w.conf.Guard, w.conf.DrainTimeout = time.Minute, time.Minute
	a := w.firstHTTP()
	ks := w.crowd(n, a.pid)
	w.conf.Probation = time.Minute
	mark := w.mark()
	b := w.upgrade(a)
	w.wait(mark, b.pid, "phase", "probation")
	mine := w.connect(n)
	mine.answeredBy(t, b.pid)
	count(t, ks).allBy(t, a.pid, n) // still the incumbent's, and staying
	w.signal(b, unix.SIGKILL)
	w.wait(mark, a.pid, "log", "this generation serves again")
	if _, _, err := mine.ask("/token?"); !dropped(err) {
		t.Errorf("the connection that the dead one had accepted: %v", err)
	}
	count(t, ks).allBy(t, a.pid, n)
	w.conf.Probation, w.conf.Guard = 0, 400*time.Millisecond
	c := w.take("join", a, "http")
	moveCase{}.settled(t, w, ks, c)
}

// TestDeathAfterMoving: what a successor has acknowledged dies with it, all of it and nothing else.
func TestDeathAfterMoving(t *testing.T) {
	t.Parallel()
	const n = 200
	w := newWorld(t, "http")
	w.conf.Guard, w.conf.DrainTimeout = time.Minute, time.Minute
	a := w.firstHTTP()
	ks := w.crowd(n, a.pid)
	slow := w.connect(n)
	target, open := w.gate()
	if err := slow.send(target); err != nil {
		t.Fatal(err)
	}
	w.connect(n+1).answeredBy(t, a.pid) // the slow one is under way
	b := w.take("join", a, "http")
	moveCase{}.settled(t, w, ks, b)
	mark := w.mark()
	w.signal(b, unix.SIGKILL)
	w.wait(mark, a.pid, "log", "this generation serves again")
	if got := count(t, ks); got.dropped != n {
		t.Errorf("of %d connections that had moved: %+v", n, got)
	}
	open()
	if pid, leave, err := slow.reply(); err != nil || pid != a.pid || leave {
		t.Errorf("the slow request: answered by %d (the last answer: %t), %v; want %d", pid, leave, err, a.pid)
	}
	slow.answeredBy(t, a.pid)
	w.connect(n+2).answeredBy(t, a.pid)
	w.conf.Guard = 400 * time.Millisecond
	c := w.take("upgrade", a, "http")
	moveCase{}.settled(t, w, []*lane{slow}, c)
}
