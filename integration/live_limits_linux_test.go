package integration

import (
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSlowConnectionMovesThroughAChain: while the first generation is still at a request that takes long, the second
// hands over to the third, and that to the fourth. The connection is answered by the first, and then moves to the fourth.
func TestSlowConnectionMovesThroughAChain(t *testing.T) {
	t.Parallel()
	w, first := liveWorld(t, "tcp")
	target, open := w.gate()
	var slow, idle []*lane
	gens := []*proc{first}
	for i := range 3 {
		from := gens[i]
		s := w.connect(2 * i)
		if err := s.send(target); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, s)
		// The request is known to be under way when another that came after it was answered.
		k := w.connect(2*i + 1)
		k.answeredBy(t, from.pid)
		idle = append(idle, k)
		gens = append(gens, w.take(ways[i%2], from, "http"))
	}
	newest := gens[3]
	moveCase{}.settled(t, w, idle, newest) // those need not wait for the slow ones
	if !first.alive() {
		t.Error("the first generation has not waited for its request")
	}
	open()
	for i, s := range slow {
		if pid, leave, err := s.reply(); err != nil || pid != gens[i].pid || leave {
			t.Errorf("slow request %d: answered by %d (the last answer: %t), %v; want %d", i, pid, leave, err, gens[i].pid)
		}
	}
	for _, g := range gens[:3] {
		w.ended(g)
	}
	count(t, slow).allBy(t, newest.pid, len(slow))
}

// warned matches a warning of descriptors that do not suffice.
var warned = regexp.MustCompile(`(?i)RLIMIT_NOFILE|descriptor`)

// TestDescriptorBudget: a successor that may have fewer descriptors than there are connections gets as many as it can
// take. The others stay, and are asked to leave by the old process.
func TestDescriptorBudget(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			const n = 400
			w, a := liveWorld(t, "tcp")
			ks := w.crowd(n, a.pid)
			w.conf.Start = "nofile=160"
			mark := w.mark()
			b := w.take(way, a, "http")
			w.conf.Start = ""
			w.await(mark, "a warning", func(e event) bool {
				return e.Ev == "log" && e.N >= 4 && warned.MatchString(e.Msg+" "+e.Err)
			})
			w.connect(n).answeredBy(t, b.pid) // some are left for those who come
			got := count(t, ks)
			t.Logf("%+v, told to leave %v", got.by, got.leaving)
			if got.dropped > 0 || got.leaving[b.pid] > 0 || got.leaving[a.pid] < n-160 {
				t.Errorf("of %d connections: %+v, told to leave %v, dropped %d", n, got.by, got.leaving, got.dropped)
			}
			w.ended(a)
			again := count(t, got.stay)
			again.allBy(t, b.pid, len(got.stay))
			if len(again.stay) < 20 {
				t.Errorf("only %d connections have moved", len(again.stay))
			}
			// One that may have more takes all that are left.
			c := w.take("join", b, "http")
			w.ended(b)
			count(t, again.stay).allBy(t, c.pid, len(again.stay))
		})
	}
}

// TestDescriptorsGone: the successor's clients have used up its descriptors when another connection is to move. It stays,
// and the successor lives.
func TestDescriptorsGone(t *testing.T) {
	t.Parallel()
	const limit = 160
	w := newLive(t, "tcp")
	w.conf.Guard = time.Minute // in which a successor that is not well would be killed
	a := w.firstHTTP()
	target, open := w.gate()
	slow := w.connect(0)
	if err := slow.send(target); err != nil {
		t.Fatal(err)
	}
	ks := w.crowd(20, a.pid) // answered after slow had begun
	w.conf.Start = "nofile=" + strconv.Itoa(limit)
	b := w.take("upgrade", a, "http")
	moveCase{}.settled(t, w, ks, b)
	for i := range limit { // more than fit
		w.connect(100 + i)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		fds, err := os.ReadDir("/proc/" + strconv.Itoa(b.pid) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		if len(fds) >= limit {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the successor has only %d of %d descriptors", len(fds), limit)
		}
	}
	mark := w.mark()
	open()
	if pid, leave, err := slow.reply(); err != nil || pid != a.pid || leave {
		t.Errorf("answered by %d (the last answer: %t), %v; want %d", pid, leave, err, a.pid)
	}
	w.await(mark, "a warning", func(e event) bool {
		return e.Ev == "log" && e.PID == a.pid && e.N >= 4 && warned.MatchString(e.Msg+" "+e.Err)
	})
	if got := count(t, []*lane{slow}); got.leaving[a.pid] != 1 {
		t.Errorf("the connection that stays: %+v, told to leave %v, dropped %d", got.by, got.leaving, got.dropped)
	}
	count(t, ks).allBy(t, b.pid, len(ks))
	if !b.alive() {
		t.Error("the successor is dead")
	}
}

// ended waits until the server ends the connection, and returns when, and what it has said before.
func (k *lane) ended(t *testing.T, within time.Duration) (at time.Time, said string) {
	t.Helper()
	if err := k.c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Error(err)
	}
	b, err := io.ReadAll(k.br)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection %d is still open", k.id)
	}
	return time.Now(), string(b)
}

// TestTimeoutsGoOn: connections that nobody uses are closed when the server would have closed them without an upgrade;
// their time does not begin anew with it. Who has said something of a request gets the same answer as without one.
func TestTimeoutsGoOn(t *testing.T) {
	const headers, idles = 4 * time.Second, 5 * time.Second
	for _, upgrades := range []int{1, 3} {
		t.Run(map[int]string{1: "one upgrade", 3: "three upgrades"}[upgrades], func(t *testing.T) {
			t.Parallel()
			server := func() (*world, *proc) {
				w := newWorld(t, "http")
				w.conf.IdleTimeout, w.conf.ReadHeaderTimeout, w.conf.DrainTimeout = idles, headers, time.Minute
				w.conf.Guard = 100 * time.Millisecond
				return w, w.firstHTTP()
			}
			w, p := server()
			other, alone := server()

			begun := time.Now()
			mute, word, rested := w.connect(0), w.connect(1), w.connect(2)
			if _, err := word.c.Write([]byte("GET /token")); err != nil {
				t.Fatal(err)
			}
			rested.answeredBy(t, p.pid)
			later := w.connect(3)
			later.answeredBy(t, p.pid)
			time.Sleep(headers / 2) // the time that is to be counted

			// These come now, to a server that is not upgraded. If the time of those above began anew with the upgrade, these
			// would be closed first.
			newMute, newRested, newWord := other.connect(4), other.connect(5), other.connect(6)
			if _, err := newWord.c.Write([]byte("GET /token")); err != nil {
				t.Fatal(err)
			}
			newRested.answeredBy(t, alone.pid)
			for i := range upgrades {
				p = w.take(ways[i%2], p, "http")
			}
			// One that says half a word now has its whole time from here.
			half := time.Now()
			if _, err := later.c.Write([]byte("GET /token")); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			var order []string
			said := make(map[string]string)
			for _, c := range []struct {
				name  string
				k     *lane
				from  time.Time
				limit time.Duration
			}{
				{"nothing said", mute, begun, headers},
				{"half a word said before", word, begun, headers},
				{"idle", rested, begun, idles},
				{"half a word said after", later, half, headers},
				{"new, nothing said", newMute, half, 0},
				{"new, idle", newRested, half, 0},
				{"new, half a word said", newWord, half, 0},
			} {
				wg.Go(func() {
					end, answer := c.k.ended(t, time.Until(c.from.Add(c.limit+patience)))
					if end.Before(c.from.Add(c.limit)) {
						t.Errorf("%s: closed after %v, which is before its time, %v", c.name, end.Sub(c.from), c.limit)
					}
					mu.Lock()
					defer mu.Unlock()
					order = append(order, c.name)
					said[c.name] = answer
				})
			}
			wg.Wait()
			for name, answer := range said {
				want := ""
				if strings.Contains(name, "half a word") {
					want = said["new, half a word said"]
				}
				if answer != want || strings.HasPrefix(want, "HTTP/1.1 400 ") != (want != "") {
					t.Errorf("%s: the connection ends with %q, want %q", name, answer, want)
				}
			}
			for old, anew := range map[string]string{
				"nothing said": "new, nothing said", "half a word said before": "new, nothing said", "idle": "new, idle",
			} {
				if slices.Index(order, old) > slices.Index(order, anew) {
					t.Errorf("%s: closed after one that came later; its time has begun anew. In order: %q", old, order)
				}
			}
		})
	}
}
