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
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/timeline"
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
	h.Trace.Phase = func(change timeline.PhaseChange) {
		phase(change)
		if change.To == handoff.PhaseDraining {
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
		case "missing":
			cmd = exec.Command("/nonexistent/program")
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
