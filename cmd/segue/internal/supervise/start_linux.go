package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/segue-go/segue/internal/startenv"
)

// own lists variables that are this process's affair, not COMMAND's.
func own() []string {
	return []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "FDSTORE", "MAINPID", startenv.Handoff, startenv.Rendezvous, startenv.PIDFile}
}

// environment is that of COMMAND. LISTEN_PID is missing: only COMMAND itself knows its number.
func (r *runner) environment(notify string) []string {
	env := append(startenv.Without(os.Environ(), own()...),
		startenv.Rendezvous+"="+r.o.Rendezvous, startenv.PIDFile+"="+r.pidFile(), "NOTIFY_SOCKET="+notify,
		"FDSTORE=0") // who listens there keeps no sockets, and a program that believes so would leave the path of a Unix socket behind
	names := make([]string, len(r.sockets))
	for i, s := range r.sockets {
		names[i] = s.name
	}
	return startenv.WithListen(env, 0, names)
}

// start starts COMMAND.
//
// It does not use package os for that: Files would make the sockets block, for those who have them already too, and its Wait
// competes with the reaper.
func (r *runner) start() []action {
	file, err := r.o.LookPath(r.o.Argv[0])
	if err != nil {
		return r.m.notStarted(err, r.o.Status(err))
	}
	r.count++
	notify, err := listenNotify(filepath.Join(r.dir, fmt.Sprintf("notify.%d", r.count)))
	if err != nil {
		return r.m.notStarted(err, 1)
	}
	if r.chown != nil {
		if err := r.chown(notify.path); err != nil {
			r.o.Log.Warn("COMMAND cannot say by NOTIFY_SOCKET that it is ready", "error", err)
		}
	}
	pid, begun, err := r.fork(file, notify.path)
	if err != nil {
		notify.close()
		return r.m.notStarted(err, 1)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.readies[pid] = cancel
	p, acts := r.m.started(pid)
	r.awaitReady(ctx, p, notify, begun)
	return acts
}

// fork starts this program again, which executes file once it has set LISTEN_PID (Options.Self). begun ends, without a byte, when it
// has; the caller closes it.
func (r *runner) fork(file, notify string) (pid int, begun *os.File, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	begun, say, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer say.Close()
	number := startenv.FirstFD + len(r.sockets)
	argv := append(append(slices.Clone(r.o.Self), strconv.Itoa(number), file), r.o.Argv...)
	attr := &syscall.ProcAttr{
		Env: r.environment(notify), Sys: &syscall.SysProcAttr{Setpgid: true}, // the terminal's signals come here, and are passed on
		Files: []uintptr{null.Fd(), r.o.Stdout.Fd(), r.o.Stderr.Fd()},
	}
	// Borrowed for the time of the call.
	var borrow func(rest []*socket) error
	borrow = func(rest []*socket) (err error) {
		if len(rest) == 0 {
			attr.Files = append(attr.Files, say.Fd())
			pid, err = syscall.ForkExec(r.o.Self[0], argv, attr)
			return err
		}
		var inner error
		err = rest[0].fd.Control(func(n uintptr) {
			attr.Files = append(attr.Files, n)
			inner = borrow(rest[1:])
		})
		if err == nil {
			err = inner
		}
		return err
	}
	if err := borrow(r.sockets); err != nil {
		_ = begun.Close()
		return 0, nil, fmt.Errorf("start %s: %w", file, err)
	}
	return pid, begun, nil
}

// awaitReady waits until a new process is ready, and says so, until ctx ends. It takes notify and begun. A time, and a probe, are
// of COMMAND: until it is executed the process is another copy of this program, which may have to wait long for a processor.
func (r *runner) awaitReady(ctx context.Context, p *proc, notify *notifySocket, begun *os.File) {
	pid, alone := p.pid, len(r.m.procs) == 1
	ready := func() { r.post(func() []action { return r.m.ready(p, time.Now()) }) }
	context.AfterFunc(ctx, func() { notify.close(); _ = begun.Close() })
	if r.o.Ready.Joined { // named tells
		ready = func() {}
	}
	r.tasks.Go(func() { notify.read(ready) })
	r.tasks.Go(func() {
		if n, err := begun.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
			return // it will not be executed; or ctx has ended
		}
		switch {
		case r.o.Ready.Joined, r.o.Ready.Notify:
			return
		case r.o.Ready.Probe:
			if !probe(ctx, pid, alone, r.o.Ready.Address, r.o.Ready.Path, r.o.Log) {
				return
			}
		default:
			select {
			case <-time.After(r.o.Ready.Delay):
			case <-ctx.Done():
				return
			}
		}
		ready()
	})
}
