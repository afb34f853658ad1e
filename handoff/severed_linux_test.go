package handoff_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/wire"
	"golang.org/x/sys/unix"
)

const speakerEnv = "SEGUE_TEST_SPEAKER"

// TestSpeaker is no test of its own: run by speaker, it sends the frame in speakerEnv, which is WELCOME and makes this process the
// incumbent, and lives on until its standard input ends.
func TestSpeaker(t *testing.T) {
	frame := os.Getenv(speakerEnv)
	if frame == "" {
		return
	}
	link, token := os.NewFile(3, "link"), os.NewFile(4, "token")
	conn, err := net.FileConn(link)
	must(t, err)
	must(t, fdpass.Send(conn.(*net.UnixConn), []byte(frame), token))
	for _, c := range []io.Closer{conn, link, token} {
		must(t, c.Close()) // so that the link ends with the other end of it
	}
	_, _ = os.Stdout.WriteString("said\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// speaker has another process say m to r, with r.token. The one that is returned ends it, and waits for that.
func (r *rawPeer) speaker(m *wire.Welcome) (end func()) {
	r.t.Helper()
	frame, err := wire.Encode(m)
	must(r.t, err)
	dup := func(c syscall.Conn, name string) *os.File {
		raw, err := c.SyscallConn()
		must(r.t, err)
		var n int
		must(r.t, raw.Control(func(fd uintptr) { n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }))
		must(r.t, err)
		return os.NewFile(uintptr(n), name)
	}
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestSpeaker$")
	cmd.Env = append(os.Environ(), speakerEnv+"="+string(frame), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{dup(r.conn, "link"), dup(r.token, "token")}
	stdin, err := cmd.StdinPipe()
	must(r.t, err)
	stdout, err := cmd.StdoutPipe()
	must(r.t, err)
	must(r.t, cmd.Start())
	for _, f := range cmd.ExtraFiles {
		must(r.t, f.Close())
	}
	lines := bufio.NewReader(stdout)
	if line, err := lines.ReadString('\n'); line != "said\n" {
		r.t.Fatalf("the speaker says %q, %v", line, err)
	}
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, lines)
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("the speaker: %v", err)
		}
	}
	r.t.Cleanup(end)
	return end
}

// TestSevered: the link to a predecessor in its guard has ended, and the predecessor lives. It may yet take the sockets, so
// nobody else may, until it is dead.
func TestSevered(t *testing.T) {
	path := rendezvous(t)
	l := rawListener(t, path)
	c := config(t, path)
	c.StepTimeout = time.Second
	log := &logWriter{} // decisions are for debugging
	c.Logger = loggerTo(t, log, slog.LevelDebug)
	joined := make(chan *handoff.Generation, 1)
	go func() {
		g, err := handoff.Join(bounded(t), c)
		if err != nil {
			t.Error(err)
		}
		joined <- g
	}()
	a := acceptRaw(t, l)
	hear[*wire.Hello](a)
	a.token = newEventfd(t, 1)
	end := a.speaker(a.welcomes(true))
	a.offer([]wire.Item{{Name: "r", Kind: wire.KindRendezvous}}, l)
	b := result(t, "Join", joined)
	if b == nil {
		t.FailNow()
	}
	t.Cleanup(func() { shut(t, b) })
	answered := make(chan error, 1)
	go func() { answered <- b.Ready(bounded(t)) }()
	hear[*wire.Prepared](a)
	a.send(&wire.Commit{})
	hear[*wire.Owned](a)
	hear[*wire.Confirm](a)
	must(t, result(t, "Ready", answered))
	must(t, a.conn.Close())
	log.says(t, "next=SEVERED")

	r := dialRaw(t, path)
	r.offered()
	r.prepared(r.receipts(), 0)
	for _, m := range r.hangsUp() {
		if _, ok := m.(*wire.Commit); ok {
			t.Fatal("COMMIT, and the predecessor may take the sockets")
		}
	}
	eventually(t, "the end of the attempt", func() bool { return b.Status().LastError != nil && b.Status().Phase == handoff.PhaseServing })
	says(t, b.Status().LastError, os.ErrDeadlineExceeded, "it may yet take the sockets back; end it, and try again", "")

	end()
	log.says(t, "next=ALONE")
	dialRaw(t, path).committed(0)
}

// TestClosedInGuard: a predecessor that ends in its guard says so before its link ends. Its successor may commit then.
func TestClosedInGuard(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, longGuard(t, path))
	b := join(t, config(t, path))
	ready(t, b)
	superseded(t, a)
	shut(t, a)
	dialRaw(t, path).committed(0)
}
