package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
)

// told is what the role started answers.
type told struct {
	PID     int
	Args    []string
	Env     []string
	Dir     string
	Exe     string
	Errs    []string
	Ignored bool // SIGPIPE is
	Broken  int  // times that the program was notified of SIGPIPE
	Hangups int  // times that it got SIGHUP
}

// roleStarted is a server about whose circumstances its clients may ask, and which they may change: each line that a client
// sends is a command, answered by a line.
func roleStarted(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	broken, hangups := make(chan os.Signal, 100), make(chan os.Signal, 100)
	signal.Notify(hangups, unix.SIGHUP)
	choose := func(when string) {
		switch what, at, _ := strings.Cut(c.Pipe, " "); {
		case at != when:
		case what == "ignore":
			signal.Ignore(unix.SIGPIPE)
		case what == "notify":
			signal.Notify(broken, unix.SIGPIPE)
		case what == "reset":
			signal.Reset(unix.SIGPIPE)
		}
	}
	choose("before")
	p, code := begin(ctx, c, e)
	if p == nil {
		return code
	}
	defer fmt.Println("the end of", os.Getpid())
	defer p.end()
	choose("after")
	helper, err := helper(c)
	if err != nil {
		return 64
	}
	defer helper.Close()
	network, address, _ := strings.Cut(c.Listen[0], "/")
	ln, err := p.gen.Listen(ctx, network, address)
	if err != nil {
		e.result("listen", err)
		return 1
	}
	var conns clients
	obey := func(nc net.Conn) {
		defer conns.add(-1)
		defer nc.Close()
		fmt.Fprintln(nc, self())
		for lines := bufio.NewScanner(nc); lines.Scan(); {
			answer := told{PID: self()}
			note := func(err error) {
				if err != nil {
					answer.Errs = append(answer.Errs, err.Error())
				}
			}
			verb, rest, _ := strings.Cut(lines.Text(), " ")
			name, value, _ := strings.Cut(rest, "=")
			switch verb {
			case "print":
				for _, f := range []*os.File{os.Stdout, os.Stderr} {
					_, err := fmt.Fprintln(f, rest)
					note(err)
				}
			case "help":
				_, err := fmt.Fprintln(helper, rest)
				note(err)
			case "setenv":
				note(os.Setenv(name, value))
			case "unsetenv":
				note(os.Unsetenv(name))
			case "args":
				os.Args = append(os.Args, "more")
				os.Args[0] = "other"
			case "chdir":
				note(os.Chdir(rest))
			case "tell":
			default:
				fmt.Fprintln(nc, lines.Text()) // as clients of the role tcp expect
				continue
			}
			answer.Args, answer.Env, answer.Ignored = os.Args, os.Environ(), signal.Ignored(unix.SIGPIPE)
			answer.Hangups = len(hangups)
			answer.Exe, _ = os.Readlink("/proc/self/exe")
			answer.Dir, _ = os.Readlink("/proc/self/cwd")
			if strings.HasPrefix(c.Pipe, "notify") && verb == "print" && len(answer.Errs) > 0 {
				select {
				case <-broken:
					answer.Broken++
				case <-time.After(patience):
				}
			}
			b, err := json.Marshal(answer)
			note(err)
			_, _ = nc.Write(append(b, '\n'))
		}
	}
	p.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			conns.add(1)
			go obey(nc)
		}
	})
	err = p.gen.Ready(ctx)
	e.result("ready", err)
	if err != nil {
		return 1
	}
	err = p.gen.Wait(ctx, conns.drain)
	e.result("wait", err)
	return 0
}

// helper starts a process, with the output of this one, that prints what it is told, until the end of its input.
func helper(c conf) (io.WriteCloser, error) {
	if !c.Helper {
		return os.Stdin, nil
	}
	cmd := exec.Command("/bin/sh", "-c", `while read line; do echo "$PPID: $line"; done`)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return stdin, cmd.Start()
}

// command makes the Config.Command of the role started.
func (c conf) command(h *handoff.Config, e *emitter) {
	if c.Command == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	phase := h.Trace.Phase
	h.Trace.Phase = func(from, to handoff.Phase) {
		phase(from, to)
		if to == handoff.PhaseDraining {
			cancel()
		}
	}
	h.Command = func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		switch c.Command {
		case "writer":
			cmd.Stdout, cmd.Stderr = new(strings.Builder), new(strings.Builder)
		case "deathsig":
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		case "context":
			cmd = exec.CommandContext(ctx, os.Args[0])
		}
		return cmd
	}
}

// order sends a server of the role started a command.
func (w *world) order(p *proc, command string) told {
	w.t.Helper()
	nc, err := net.DialTimeout("tcp", w.addr, patience)
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(nc, command); err != nil {
		w.t.Fatal(err)
	}
	lines := bufio.NewReader(nc)
	if _, err := lines.ReadString('\n'); err != nil {
		w.t.Fatalf("%s: no greeting: %v", command, err)
	}
	line, err := lines.ReadString('\n')
	if err != nil {
		w.t.Fatalf("%s: no answer: %v", command, err)
	}
	var answer told
	if err := json.Unmarshal([]byte(line), &answer); err != nil {
		w.t.Fatalf("%s: %q: %v", command, line, err)
	}
	if answer.PID != p.pid {
		w.t.Fatalf("%s: pid %d answers, not %d", command, answer.PID, p.pid)
	}
	return answer
}

// next upgrades p, and waits until its successor serves and p is gone.
func (w *world) next(p *proc) *proc {
	w.t.Helper()
	mark := w.mark()
	n := w.upgrade(p)
	if e := w.wait(mark, n.pid, "ready", ""); e.Err != "" {
		w.t.Fatalf("pid %d does not serve: %s", n.pid, e.Err)
	}
	w.ended(p)
	return n
}

// refused upgrades p, which is to fail, and returns the error.
func (w *world) refused(p *proc) string {
	w.t.Helper()
	w.configure()
	mark := w.mark()
	w.signal(p, unix.SIGHUP)
	e := w.wait(mark, p.pid, "upgrade", "")
	if e.Err == "" {
		w.t.Fatal("the upgrade did not fail")
	}
	w.order(p, "tell")
	return e.Err
}

// warnings counts what a process has logged with that message.
func (w *world) warnings(p *proc, message string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if of(p.pid, "log", "")(e) && e.Msg == message {
			n++
		}
	}
	return n
}

const nobodyReads = "nobody reads what this process prints; it is lost"

// TestOutputWithoutReader: the output of a server goes to a supervisor that closes its end when the process that it has
// started itself, generation 1, has ended. Those that come after it print on, and live.
func TestOutputWithoutReader(t *testing.T) {
	for _, tt := range []struct {
		name, pipe, command string
	}{
		{"default", "", ""}, {"writer", "", "writer"},
		{"ignored before Join", "ignore before", ""}, {"ignored after Join", "ignore after", ""},
		{"notified before Join", "notify before", ""}, {"notified after Join", "notify after", ""},
		{"reset after Join", "reset after", ""},
		{"fifo", "", ""}, {"socket", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "started")
			w.conf.Pipe, w.conf.Command = tt.pipe, tt.command
			out, reader := w.output(tt.name)
			w.adapt = func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = out, out }
			p := w.serving("started")
			_ = out.Close()
			w.order(p, "print by the first")
			if tt.command == "" {
				line, err := bufio.NewReader(reader).ReadString('\n')
				if err != nil || line != "by the first\n" {
					t.Fatalf("the supervisor reads %q, %v", line, err)
				}
			}
			for generation := 2; generation < 5; generation++ {
				p = w.next(p)
				_ = reader.Close()
				if tt.pipe == "reset after" { // the one choice that segue undoes, once it has noticed
					w.wait(0, p.pid, "log", nobodyReads)
				}
				first := w.order(p, "print to nobody") // it may not be noticed yet
				w.wait(0, p.pid, "log", nobodyReads)
				second := w.order(p, "print to nobody")
				for _, got := range []told{first, second} {
					if tt.command == "writer" && generation == 2 {
						break // the first one, which copies, may be about to end only
					}
					if len(got.Errs) != 2 {
						t.Errorf("generation %d: prints with %v, want two errors", generation, got.Errs)
					}
					if want := strings.HasPrefix(tt.pipe, "ignore"); got.Ignored != want {
						t.Errorf("generation %d: SIGPIPE ignored: %v", generation, got.Ignored)
					}
					if want := strings.HasPrefix(tt.pipe, "notify"); (got.Broken > 0) != want {
						t.Errorf("generation %d: the program was notified %d times", generation, got.Broken)
					}
				}
				if n := w.warnings(p, nobodyReads); n != 1 {
					t.Errorf("generation %d: %d warnings", generation, n)
				}
			}
			mark := w.mark()
			w.signal(p, unix.SIGTERM) // it prints a last line
			if e := w.wait(mark, p.pid, "exit", ""); e.N != 0 {
				t.Errorf("it ends with status %d", e.N)
			}
		})
	}
}

// output makes what a supervisor gives its child to print to, and where it reads that.
func (w *world) output(kind string) (out, reader *os.File) {
	w.t.Helper()
	var err error
	switch kind {
	case "fifo":
		name := w.dir + "/out"
		if err := unix.Mkfifo(name, 0o600); err != nil {
			w.t.Fatal(err)
		}
		if reader, err = os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
			out, err = os.OpenFile(name, os.O_WRONLY, 0)
		}
	case "socket":
		var pair [2]int
		pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		out, reader = os.NewFile(uintptr(pair[0]), "out"), os.NewFile(uintptr(pair[1]), "reader")
	default:
		reader, out, err = os.Pipe()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _, _ = out.Close(), reader.Close() })
	return out, reader
}

// TestStartedAsAtJoin: what a program does to its environment, its arguments and its directory after Join is no business of
// the generations after it.
func TestStartedAsAtJoin(t *testing.T) {
	for _, command := range []string{"", "plain"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "started")
			w.conf.Command = command
			w.env = []string{"SECRET=of the operator", "GROWS=a"}
			w.adapt = func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, "-first", "-second") }
			p := w.serving("started")
			want := w.order(p, "tell")
			for range 2 {
				orders := []string{"unsetenv SECRET", "setenv GROWS=aa", "setenv NEW=x", "setenv PATH=/nonexistent"}
				if command == "" { // else these are the command's
					orders = append(orders, "args", "chdir /")
				}
				for _, order := range orders {
					if got := w.order(p, order); len(got.Errs) > 0 {
						t.Fatal(got.Errs)
					}
				}
				p = w.next(p)
				got := w.order(p, "tell")
				if command == "" && !slices.Equal(got.Args, want.Args) || got.Dir != want.Dir || got.Exe != want.Exe {
					t.Errorf("started as %q in %s (%s), want %q in %s (%s)", got.Args, got.Dir, got.Exe, want.Args, want.Dir, want.Exe)
				}
				if slices.Sort(got.Env); !slices.Equal(got.Env, slices.Sorted(slices.Values(want.Env))) {
					t.Errorf("environment %q\nwant %q", got.Env, want.Env)
				}
			}
		})
	}
}

// TestOutlivesPredecessor: what a program's own Config.Command may do to a child of which it is to be the parent for ever,
// does not end a successor, which is not.
func TestOutlivesPredecessor(t *testing.T) {
	for _, command := range []string{"deathsig", "context"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "started")
			w.conf.Command = command
			p := w.serving("started")
			for range 3 {
				p = w.next(p)
				w.order(p, "tell")
			}
		})
	}
}

// TestLeaderOfTerminal: when the first generation, which leads the session of a terminal, ends, the kernel sends SIGHUP to
// who else is in the foreground there. A successor is not.
func TestLeaderOfTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "started")
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.adapt = func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
		cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	}
	p := w.serving("started")
	_ = terminal.Close()
	mark := w.mark()
	p = w.next(p)
	w.signal(p, unix.SIGUSR2) // is delivered after a SIGHUP that the kernel has sent before
	w.wait(mark, p.pid, "stats", "")
	if got := w.order(p, "tell"); got.Hangups != 0 {
		t.Errorf("it got %d SIGHUP", got.Hangups)
	}
	_ = master.Close() // the terminal is closed
	p = w.next(p)
	w.order(p, "print to nobody")
	w.order(p, "tell")
}

// TestHelperOutlivesPredecessor: what a successor has started before it owned prints through the predecessor, and after
// that through the successor.
func TestHelperOutlivesPredecessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "started")
	w.conf.Helper = true
	out, reader := w.output("pipe")
	w.adapt = func(cmd *exec.Cmd) { cmd.Stdout = out }
	p := w.serving("started")
	_ = out.Close()
	_ = reader.SetReadDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(reader)
	expect := func() {
		t.Helper()
		for range 3 {
			w.order(p, "help me")
			want := fmt.Sprintf("%d: me\n", p.pid)
			for line := ""; line != want; {
				var err error
				if line, err = lines.ReadString('\n'); err != nil {
					t.Fatalf("the helper of pid %d: %v", p.pid, err)
				}
			}
		}
	}
	expect()
	for range 3 {
		p = w.next(p)
		expect()
	}
}
