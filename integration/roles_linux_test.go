package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
)

// process is what all server roles have in common.
type process struct {
	conf
	e    *emitter
	gen  *handoff.Generation
	quit chan struct{}
	hold chan struct{} // closed by SIGUSR1, for "hold-joined", Check and a server that fails
	wg   sync.WaitGroup
}

// begin does what conf.Start says, joins, and listens for signals. A code that is not negative is to exit with.
func begin(ctx context.Context, c conf, e *emitter) (*process, int) {
	p := &process{conf: c, e: e, quit: make(chan struct{}), hold: make(chan struct{})}
	switch start, n, _ := strings.Cut(c.Start, "="); start {
	case "":
	case "exit3":
		fmt.Println("first line of output")
		fmt.Fprintln(os.Stderr, "cannot find my configuration")
		return nil, 3
	case "hang":
		fmt.Println("waiting for a database")
		<-ctx.Done()
		return nil, 0
	case "nofile":
		more, relative := strings.CutPrefix(n, "+")
		limit, err := strconv.ParseUint(more, 10, 64)
		if relative {
			limit += uint64(descriptors())
		}
		if err == nil {
			err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit})
		}
		if err != nil {
			return nil, 64
		}
	}
	// The signals before Join: a test may send one as soon as it knows the process.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2)
	if !c.Signals {
		signal.Notify(signals, unix.SIGHUP)
	}
	h := c.handoff(e)
	if c.Check {
		h.Check = func(ctx context.Context) error {
			select {
			case <-p.hold:
			case <-ctx.Done():
			}
			return errors.New("told to fail")
		}
	}
	if c.AnyUser { // SCM_CREDENTIALS and SO_PEERCRED are all that keeps others out
		defer func() { _ = os.Chmod(c.Path, 0o666) }()
	}
	gen, err := handoff.Join(ctx, h)
	e.result("join", err)
	if err != nil {
		return nil, 1
	}
	p.gen = gen
	p.wg.Go(func() { p.obey(signals) })
	switch c.Start {
	case "hang-joined":
		fmt.Println("waiting for a database")
		<-ctx.Done()
		p.end()
		return nil, 0
	case "hold-joined":
		select {
		case <-p.hold:
		case <-ctx.Done():
		}
	}
	return p, -1
}

// obey acts on signals until quit: SIGHUP upgrades, SIGUSR1 does what the test wants, SIGUSR2 reports.
func (p *process) obey(signals chan os.Signal) {
	for {
		var s os.Signal
		select {
		case s = <-signals:
		case <-p.quit:
			return
		}
		switch s {
		case unix.SIGHUP:
			p.wg.Go(func() { p.e.result("upgrade", p.gen.Upgrade(context.Background())) })
		case unix.SIGUSR2:
			fmt.Println("reported by", os.Getpid())
			p.tellTimeline()
			p.e.emit(event{Ev: "stats", FDs: descriptors(), Gs: runtime.NumGoroutine(), N: p.gen.Status().Generation})
		case unix.SIGUSR1:
			switch p.USR1 {
			case "close":
				p.e.result("closed", p.gen.Close())
			case "fail":
				p.wg.Go(func() {
					err := p.gen.Fail(errors.New("told to fail"))
					p.e.result("failed", err)
					p.e.result("closed", err)
				})
			case "exit0":
				os.Exit(0)
			case "exit4":
				os.Exit(4)
			case "hold", "server":
				close(p.hold)
			}
		}
	}
}

// tellTimeline writes what this process says of its chain to a file, if somebody wants to know.
func (p *process) tellTimeline() {
	if !p.Timeline {
		return
	}
	b, err := json.Marshal(telling{History: p.gen.History(), Counters: p.gen.Counters(), Chain: p.gen.Chain()})
	name := filepath.Join(filepath.Dir(p.Path), fmt.Sprintf("timeline.%d", os.Getpid()))
	if err == nil {
		err = os.WriteFile(name, b, 0o600)
	}
	ev := event{Ev: "timeline", Msg: name}
	if err != nil {
		ev.Err = err.Error()
	}
	p.e.emit(ev)
}

func (p *process) end() {
	_ = p.gen.Close()
	close(p.quit)
	p.wg.Wait()
}

// operator returns a context that ends with SIGTERM.
func operator(c conf) (context.Context, context.CancelFunc) {
	if c.Unhandled {
		return context.WithCancel(context.Background())
	}
	return signal.NotifyContext(context.Background(), unix.SIGTERM)
}

// descriptors counts, as the kernel shows it, without the one that looks.
func descriptors() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(names) - 1
}

// roleTCP answers each connection with its process id in a line, and then echoes lines. It needs only Ready and Wait.
func roleTCP(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	p, code := begin(ctx, c, e)
	if p == nil {
		return code
	}
	defer p.end()
	var conns clients
	for _, l := range c.Listen {
		network, address, _ := strings.Cut(l, "/")
		ln, err := p.gen.Listen(ctx, network, address)
		if err != nil {
			e.result("listen", err)
			return 1
		}
		p.wg.Go(func() { conns.serve(ln) })
	}
	e.emit(event{Ev: "listening"})
	err := p.gen.Ready(ctx)
	e.result("ready", err)
	if err != nil {
		return 1
	}
	err = p.gen.Wait(ctx, conns.drain)
	e.result("wait", err)
	if err != nil && ctx.Err() == nil {
		return 1
	}
	if err := p.gen.Close(); err != nil {
		return 1
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conns.drain(last)
	return 0
}

// clients are connections that are being served.
type clients struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // nil: nobody waits
}

func (cs *clients) add(d int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.n += d
	if cs.n == 0 && cs.empty != nil {
		close(cs.empty)
		cs.empty = nil
	}
}

func (cs *clients) drain(ctx context.Context) error {
	cs.mu.Lock()
	if cs.n == 0 {
		cs.mu.Unlock()
		return nil
	}
	if cs.empty == nil {
		cs.empty = make(chan struct{})
	}
	empty := cs.empty
	cs.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (cs *clients) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		cs.add(1)
		go func() {
			defer cs.add(-1)
			defer c.Close()
			fmt.Fprintln(c, self())
			// Without splice(2): with the race detector package net leaves pipes behind, more than some tests have room for.
			_, _ = io.Copy(struct{ io.Writer }{c}, bufio.NewReader(c))
		}()
	}
}
