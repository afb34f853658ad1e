package process_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/listener"
)

// blocks reports whether calls on the socket that a process has at an address block.
func blocks(t *testing.T, old *child, network, address string) bool {
	t.Helper()
	p, err := process.Open(old.pid())
	must(t, err)
	defer p.Close()
	all, err := p.List(bounded(t))
	must(t, err)
	found, err := process.Match(bounded(t), all, network, address)
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("found %v", found)
	}
	fd, err := p.Take(found[0])
	must(t, err)
	defer fd.Close()
	i, err := listener.Describe(fd)
	must(t, err)
	return i.Flags&unix.O_NONBLOCK == 0
}

// TestSourceBlocking leaves a process that relies on accept(2) to block alone until Ready, and says what comes then. If it
// does not come so far, all is as it was.
func TestSourceBlocking(t *testing.T) {
	old := play(t, nil, "hold", "blocking:tcp/127.0.0.1:0", "blocking:udp/127.0.0.1:0")
	tcp, udp := old.line("holds "), old.line("holds ")
	var log bytes.Buffer
	sources := func() *process.Source {
		return process.Sockets(old.pid(), process.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	}
	src := sources()
	gen := join(t, src)
	_, err := gen.Listen(bounded(t), "tcp", tcp)
	must(t, err)
	if !blocks(t, old, "tcp", tcp) {
		t.Error("before Ready, the listener does not block")
	}
	_, err = gen.ListenPacket(bounded(t), "udp", udp)
	must(t, err)
	must(t, gen.Close())
	must(t, src.Close())
	for _, a := range [][2]string{{"tcp", tcp}, {"udp", udp}} {
		if !blocks(t, old, a[0], a[1]) {
			t.Errorf("%s: not restored", a)
		}
	}
	src = sources()
	gen = join(t, src)
	ln, err := gen.Listen(bounded(t), "tcp", tcp)
	must(t, err)
	must(t, gen.Ready(bounded(t)))
	if blocks(t, old, "tcp", tcp) {
		t.Error("after Ready, this process may block in accept, where nothing can wake it")
	}
	answers(t, ln)
	must(t, gen.Close())
	must(t, src.Close())
	if n := strings.Count(log.String(), "expects this socket to block"); n != 3 || !strings.Contains(log.String(), "process="+strconv.Itoa(old.pid())) {
		t.Errorf("%d warnings in: %s", n, log.String())
	}
}

// TestSourceReturned takes a socket that cannot be listened on for want of descriptors, wherever they end. It can be asked
// for again; and as long as the program does without, the process is not told to end: it is the only one to serve there.
func TestSourceReturned(t *testing.T) {
	const enough = 20
	for spare := range enough {
		used := false
		t.Run(fmt.Sprint(spare), func(t *testing.T) {
			old := play(t, nil, "hold", "tcp/127.0.0.1:0", "udp/127.0.0.1:0")
			tcp, udp := old.line("holds "), old.line("holds ")
			log := make(notes, 100)
			src := process.Sockets(old.pid(), process.Options{Signal: syscall.SIGTERM, Logger: log.logger()})
			gen := join(t, src)
			_, err := gen.Listen(bounded(t), "tcp", tcp)
			must(t, err)
			restore := limitFiles(t, spare)
			_, err = gen.ListenPacket(bounded(t), "udp", udp)
			restore()
			if used = err == nil; used {
				must(t, gen.Close())
				must(t, src.Close())
				return
			}
			if !errors.Is(err, unix.EMFILE) {
				t.Error(err)
			}
			if spare%2 == 1 { // it does without
				must(t, gen.Ready(bounded(t)))
				if err := log.untold(t, src); err == nil || !strings.Contains(err.Error(), udp) {
					t.Errorf("not told: %v", err)
				}
				return
			}
			_, err = gen.ListenPacket(bounded(t), "udp", udp)
			must(t, err)
			must(t, gen.Ready(bounded(t)))
			_ = old.wait() // for the signal
			must(t, src.Close())
		})
		if used {
			if spare == 0 {
				t.Error("it never failed")
			}
			return
		}
	}
	t.Errorf("%d descriptors are not enough", enough)
}

// TestSourceClosedAgain lets the program close what it has taken: then it is the process's alone.
func TestSourceClosedAgain(t *testing.T) {
	old := play(t, nil, "hold", "tcp/127.0.0.1:0", "tcp/127.0.0.1:0")
	first, second := old.line("holds "), old.line("holds ")
	log := make(notes, 100)
	src := process.Sockets(old.pid(), process.Options{Signal: syscall.SIGTERM, Logger: log.logger()})
	gen := join(t, src)
	ln, err := gen.Listen(bounded(t), "tcp", first)
	must(t, err)
	_, err = gen.Listen(bounded(t), "tcp", second)
	must(t, err)
	must(t, ln.Close())
	must(t, gen.Ready(bounded(t)))
	if err := log.untold(t, src); err == nil || !strings.Contains(err.Error(), first) {
		t.Errorf("the process was told: %v", err)
	}
	c, err := net.Dial("tcp", first)
	must(t, err)
	_ = c.Close()
}

// TestSourceGuard tells the process nothing as long as the predecessor could be revived, which does not have its socket.
func TestSourceGuard(t *testing.T) {
	dir := workDir(t, nil)
	path := dir + "/segue.sock"
	a, err := handoff.Join(bounded(t), handoff.Config{Path: path, Guard: patience})
	must(t, err)
	defer a.Close()
	_, err = a.Listen(bounded(t), "tcp", "127.0.0.1:0")
	must(t, err)
	must(t, a.Ready(bounded(t)))
	old := play(t, nil, "hold", "blocking:tcp/127.0.0.1:0")
	addr := old.line("holds ")
	src := process.Sockets(old.pid(), process.Options{Signal: syscall.SIGTERM})
	b, err := handoff.Join(bounded(t), handoff.Config{Path: path, Sources: []handoff.Source{src}})
	must(t, err)
	defer b.Close()
	for _, address := range []string{"127.0.0.1:0", addr} {
		_, err = b.Listen(bounded(t), "tcp", address)
		must(t, err)
	}
	must(t, b.Ready(bounded(t)))
	for a.Status().Phase != handoff.PhaseDraining {
		if bounded(t).Err() != nil {
			t.Fatal("not superseded")
		}
		time.Sleep(time.Millisecond)
	}
	must(t, b.Fail(errors.New("broken")))
	must(t, src.Close())
	if !blocks(t, old, "tcp", addr) {
		t.Error("the socket is not as it was")
	}
	must(t, old.in.Close())
	if err := old.wait(); err != nil {
		t.Errorf("the process was told: %v", err)
	}
}

// notes is where a log goes of which a test awaits a line.
type notes chan string

func (n notes) Write(b []byte) (int, error) {
	n <- string(b)
	return len(b), nil
}

func (n notes) logger() *slog.Logger { return slog.New(slog.NewTextHandler(n, nil)) }

// untold waits until a source has not told its process, and returns why.
func (n notes) untold(t *testing.T, src *process.Source) error {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case l := <-n:
			if strings.Contains(l, "told the process") {
				t.Errorf("the process was told: %s", l)
			} else if !strings.Contains(l, "was not told") {
				continue
			}
			return src.Close()
		case <-timeout:
			t.Fatal("the process is neither told nor not told")
		}
	}
}

// limitFiles leaves room for n more descriptors.
func limitFiles(t *testing.T, n int) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	limit := 3
	for free := 0; ; limit++ {
		if _, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(limit)); err != nil {
			if free == n {
				break
			}
			free++
		}
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: old.Max}))
	return func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }
}
