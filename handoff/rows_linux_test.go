package handoff_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/integration/decisions"
	"golang.org/x/sys/unix"
)

// What the tests of rows have in common: TestIncumbentRows and TestSuccessorRows lead a generation, by a peer that speaks by hand,
// into each state of the tables in docs/protocol.md, and let each event happen there. loggerTo sees to it that what is decided is
// the row. Here is seen that it is decided at all, and that it ends as promised: somebody owns, and nobody waits for ever.

// decided are the decisions of a generation, as they come.
type decided struct {
	mu      sync.Mutex
	all     []decisions.Decision
	changed chan struct{} // closed, and made anew, with each decision
}

func newDecided() *decided { return &decided{changed: make(chan struct{})} }

func (s *decided) add(d decisions.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, d)
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits for a decision that matches.
func (s *decided) until(t *testing.T, what string, match func(decisions.Decision) bool) decisions.Decision {
	t.Helper()
	timeout := time.After(patience)
	for seen := 0; ; {
		s.mu.Lock()
		all, changed := s.all, s.changed
		s.mu.Unlock()
		for ; seen < len(all); seen++ {
			if match(all[seen]) {
				return all[seen]
			}
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("it does not decide %s, but %v\n%s", what, all, stacks())
		}
	}
}

// some reports whether a decision so far matches.
func (s *decided) some(match func(decisions.Decision) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.all {
		if match(d) {
			return true
		}
	}
	return false
}

// in waits until a side is in a state.
func (s *decided) in(t *testing.T, side, state string) {
	t.Helper()
	s.until(t, "to be in "+state, func(d decisions.Decision) bool { return d.Side == side && d.Next == state })
}

// puppet is a process that has spoken for a rawPeer, and so is the peer.
type puppet struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended bool
}

// puppetSays has another process say m, which must need no descriptor.
func (r *rawPeer) puppetSays(m wire.Message) *puppet {
	r.t.Helper()
	b, err := wire.Encode(m)
	must(r.t, err)
	raw, err := r.conn.SyscallConn()
	must(r.t, err)
	var n int
	must(r.t, raw.Control(func(fd uintptr) { n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }))
	must(r.t, err)
	link := os.NewFile(uintptr(n), "link")
	defer link.Close()
	p := &puppet{t: r.t}
	p.cmd = exec.CommandContext(context.Background(), "/bin/sh", "-c", `printf %s "$1" >&3; exec 3>&-; read status; exit "$status"`, "sh", string(b))
	p.cmd.ExtraFiles = []*os.File{link}
	p.stdin, err = p.cmd.StdinPipe()
	must(r.t, err)
	must(r.t, p.cmd.Start())
	r.t.Cleanup(p.kill)
	return p
}

// kill is a death that nobody wished, as far as is known.
func (p *puppet) kill() { p.end(func() { _ = p.cmd.Process.Kill() }) }

// exit is a death that somebody wished if status is 0.
func (p *puppet) exit(status int) {
	p.end(func() { _, _ = io.WriteString(p.stdin, strconv.Itoa(status)+"\n") })
}

func (p *puppet) end(f func()) {
	if p == nil || p.ended {
		return
	}
	p.ended = true
	f()
	_ = p.stdin.Close()
	_ = p.cmd.Wait() // the status is what f wanted
}
