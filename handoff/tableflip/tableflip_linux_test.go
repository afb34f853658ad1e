package tableflip_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/load"
)

// traffic is what clients do meanwhile, who never send anything twice.
type traffic struct {
	s         *service
	stop      context.CancelFunc
	running   sync.WaitGroup
	results   [2]*load.Result
	errs      [2]error
	dialers   [2]load.Dialer
	mu        sync.Mutex
	datagrams int
	lost      int
	unlinked  bool // a program that failed has removed the path of the Unix socket, for the moment until it is dead
}

func (s *service) traffic() *traffic {
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{s: s, stop: stop}
	s.t.Cleanup(stop)
	for i, o := range []load.Options{
		{Address: s.address, New: 4, Slow: 2, Kept: 3, SlowFor: 100 * time.Millisecond},
		{Network: "unix", Address: filepath.Join(s.dir, "users"), New: 2, Kept: 1},
	} {
		o.Pace, o.Dialer, o.Seed = 4*time.Millisecond, &tr.dialers[i], uint64(i+1)
		tr.running.Go(func() { tr.results[i], tr.errs[i] = load.Run(ctx, o) })
	}
	tr.running.Go(func() { tr.datagram(ctx) })
	return tr
}

// datagram sends one datagram after the other, each of which has to be answered.
func (tr *traffic) datagram(ctx context.Context) {
	c, err := net.Dial("udp", tr.s.address)
	if err != nil {
		tr.lost++
		return
	}
	defer c.Close()
	b := make([]byte, 100)
	for n := 0; ctx.Err() == nil; n++ {
		want := strconv.Itoa(n)
		_, err := c.Write([]byte(want))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		got := 0
		if err == nil {
			got, err = c.Read(b)
		}
		tr.mu.Lock()
		tr.datagrams++
		if err != nil || string(b[:got]) != want {
			tr.lost++
		}
		tr.mu.Unlock()
		time.Sleep(2 * time.Millisecond) // its pace
	}
}

// flows waits until n more of each have been answered: of the clients that connect anew, each has one request at a time.
func (tr *traffic) flows(n int) {
	tr.s.t.Helper()
	tcp, unix := tr.dialers[0].Dials()+10+n, tr.dialers[1].Dials()+4+n
	tr.mu.Lock()
	udp := tr.datagrams + n
	tr.mu.Unlock()
	until(tr.s.t, "requests are made", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.dialers[0].Dials() >= tcp && tr.dialers[1].Dials() >= unix && tr.datagrams >= udp
	})
}

// ends ends it, and returns how many requests each process has answered.
func (tr *traffic) ends() map[int]int {
	t := tr.s.t
	t.Helper()
	tr.stop()
	tr.running.Wait()
	by := map[int]int{}
	requests, own := 0, 0
	for i, res := range tr.results {
		must(t, tr.errs[i])
		// A process on tableflip closes kept-alive connections on which nothing happens, and a request may cross that: it is how
		// such programs drain, whoever comes after them. On a connection that is new nothing is lost.
		own += res.Excuse(func(f load.Failure) bool { return f.Answered > 0 && tr.s.flips[f.PID] && f.Dropped() })
		if tr.unlinked {
			n := res.Excuse(func(f load.Failure) bool { return f.Op == "connect" && errors.Is(f.Err, os.ErrNotExist) })
			t.Logf("%d clients did not find the path that a failed program had removed", n)
		}
		if err := res.Err(); err != nil {
			t.Error(err)
		}
		requests += res.Counts().Requests
		for _, k := range res.Kinds {
			for s := range k.Samples() {
				by[s.PID]++
			}
		}
	}
	if tr.lost > 0 {
		t.Errorf("%d of %d datagrams were not answered", tr.lost, tr.datagrams)
	}
	if !t.Failed() {
		t.Log("nothing was lost")
	}
	t.Logf("%d requests, %d datagrams; processes on tableflip closed %d kept-alive connections; answered by: %v", requests, tr.datagrams, own, by)
	return by
}

// TestThereAndBack takes a service from tableflip to segue, upgrades it there, takes it back, and there again, under load.
func TestThereAndBack(t *testing.T) {
	s := deploy(t, "tableflip")
	tr := s.traffic()
	tr.flows(30)
	for _, step := range []struct {
		to  string
		sig syscall.Signal
	}{
		{"tableflip", syscall.SIGHUP}, // tableflip's own, to compare with
		{"segue", syscall.SIGHUP},
		{"segue", syscall.SIGHUP},
		{"tableflip", syscall.SIGUSR2},
		{"tableflip", syscall.SIGHUP},
		{"segue", syscall.SIGHUP},
		{"tableflip", syscall.SIGUSR2},
		{"segue", syscall.SIGHUP},
	} {
		s.becomes(step.to, step.sig)
		tr.flows(30)
	}
	by := tr.ends()
	for pid := range s.flips {
		if by[pid] == 0 {
			t.Errorf("process %d has answered nothing", pid)
		}
	}
	s.stops()
}

// TestFailedForward installs versions on segue that do not get ready: the old program serves on, and a good one takes over later.
func TestFailedForward(t *testing.T) {
	s := deploy(t, "tableflip")
	tr := s.traffic()
	tr.flows(10)
	s.install("segue fails")
	s.signal(syscall.SIGHUP)
	if why := s.line("upgrade:"); !strings.Contains(why, "exit status 3") {
		t.Errorf("the upgrade says %q", why)
	}
	tr.flows(10)
	s.becomes("segue", syscall.SIGHUP)
	tr.flows(10)
	tr.ends()
	s.stops()
}

// TestFailedBack installs versions on tableflip that do not get ready: segue's process serves on, with its sockets, its paths and
// its PID file, and goes back or forward later.
func TestFailedBack(t *testing.T) {
	s := deploy(t, "segue")
	tr := s.traffic()
	tr.unlinked = true
	tr.flows(10)
	for version, want := range map[string]string{
		"tableflip fails": "exit status 3", // calls Stop, which removes paths
		"tableflip exits": "exit status 4",
		"tableflip hangs": "signal: killed",
	} {
		s.install(version)
		s.signal(syscall.SIGUSR2)
		if why := s.line("rollback:"); !strings.Contains(why, want) {
			t.Errorf("%s: the rollback says %q", version, why)
		}
		for _, a := range [][2]string{{"tcp", s.address}, {"unix", filepath.Join(s.dir, "users")}} {
			if pid := s.asks(a[0], a[1]); pid != s.now {
				t.Errorf("%s: process %d answers", version, pid)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(s.dir, "users.*")); len(left) > 0 {
			t.Errorf("left %s", left)
		}
		tr.flows(10)
	}
	s.becomes("segue", syscall.SIGHUP)
	tr.flows(10)
	s.becomes("tableflip", syscall.SIGUSR2)
	tr.flows(10)
	tr.ends()
	s.stops()
}

// TestParentEnds rolls back while a request is being answered: for the old program its parent, which is on segue, has ended when the
// process has, and not when that one lets go.
func TestParentEnds(t *testing.T) {
	s := deploy(t, "segue")
	c, err := net.Dial("tcp", s.address)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n")
	must(t, err)
	answer := bufio.NewReader(c)
	if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, "100") { // the handler wants the body
		t.Fatalf("answered %q, %v", line, err)
	}
	parent := s.now
	s.install("tableflip")
	s.signal(syscall.SIGUSR2)
	s.serves("tableflip")
	until(t, "it is rolled back", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(s.output.String(), "rollback: <nil>")
	})
	_, err = io.WriteString(c, "token=x")
	must(t, err)
	if _, err := io.ReadAll(answer); err != nil {
		t.Error(err)
	}
	if how := s.line("waited for the parent:"); how != "<nil> it has ended: true" {
		t.Errorf("the old program waits for its parent: %s", how)
	}
	s.ends(parent)
	s.stops()
}

// TestNoOldFile rolls back although the file is still the program on segue: the error says what to do, and nothing has happened. The
// old program, which gets the environment of that process, goes forward again later.
func TestNoOldFile(t *testing.T) {
	s := deploy(t, "segue")
	s.signal(syscall.SIGUSR2)
	if why := s.line("rollback:"); !strings.Contains(why, "is a program on segue; put the old file back") {
		t.Errorf("the rollback says %q", why)
	}
	if pid := s.asks("tcp", s.address); pid != s.now {
		t.Errorf("process %d answers", pid)
	}
	s.becomes("tableflip", syscall.SIGUSR2)
	s.becomes("segue", syscall.SIGHUP)
	s.stops()
}

// TestStopped stops a service of each kind that came from the other one: nothing is left behind.
func TestStopped(t *testing.T) {
	for _, way := range []struct {
		from, to string
		sig      syscall.Signal
	}{{"tableflip", "segue", syscall.SIGHUP}, {"segue", "tableflip", syscall.SIGUSR2}} {
		t.Run(fmt.Sprintf("%s to %s", way.from, way.to), func(t *testing.T) {
			s := deploy(t, way.from)
			s.becomes(way.to, way.sig)
			if pid := s.asks("unix", filepath.Join(s.dir, "users")); pid != s.now {
				t.Errorf("process %d answers", pid)
			}
			s.stops()
		})
	}
}
