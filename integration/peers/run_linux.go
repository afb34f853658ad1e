package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue/integration/children"
	"github.com/segue-go/segue/integration/load"
	"github.com/segue-go/segue/integration/measured"
)

// stepTimeout bounds the wait for any one thing to happen.
const stepTimeout = 20 * time.Second

// bench is one server under load.
type bench struct {
	o    options
	p    peer
	addr string
	log  string // path
	kids *children.Children
	rng  *rand.Rand

	first, pid int // the process that was started; the one that serves
}

// run starts a server, upgrades it under load, and ends it.
func run(ctx context.Context, o options, p peer) (measured.Peer, error) {
	m := measured.Peer{Name: p.name, Version: p.version, Promises: p.promises}
	dir, err := os.MkdirTemp("", "segue-peers-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	kids, err := children.New()
	if err != nil {
		return m, err
	}
	defer kids.Close()
	b := &bench{o: o, p: p, kids: kids, log: filepath.Join(dir, "log"), rng: rand.New(rand.NewPCG(o.seed, 0))}
	if err := b.play(ctx, dir, &m); err != nil {
		return m, fmt.Errorf("%s: %w%s", p.name, err, b.lastLines())
	}
	return m, nil
}

// play is the scenario.
func (b *bench) play(ctx context.Context, dir string, m *measured.Peer) error {
	if err := b.start(ctx, dir); err != nil {
		return err
	}
	l, err := load.Start(ctx, load.Options{Address: b.addr, Seed: b.o.seed, New: b.o.fresh, Kept: b.o.kept, Slow: b.o.slow,
		Idle: b.o.idle, Pace: 20 * time.Millisecond, SlowFor: 400 * time.Millisecond, Rest: 20 * time.Second})
	if err != nil {
		return err
	}
	err = b.upgrades(ctx, l, m)
	l.Stop()
	count(m, l.Wait())
	return err
}

// upgrades upgrades while the load goes on, until all old processes have ended.
func (b *bench) upgrades(ctx context.Context, l *load.Load, m *measured.Peer) error {
	if err := b.await(ctx, "all clients to connect", func() bool {
		return l.Counts().Requests >= b.o.idle+b.o.kept+b.o.fresh
	}); err != nil {
		return err
	}
	usual := len(b.kids.Alive())
	settled := func() bool { return len(b.kids.Alive()) <= usual }
	for range b.o.upgrades {
		if err := b.pause(ctx); err != nil {
			return err
		}
		if b.p.alone {
			if err := b.await(ctx, "the old process to end", settled); err != nil {
				return err
			}
		}
		if err := b.upgrade(ctx); err != nil {
			return err
		}
		m.Upgrades++
	}
	// What old processes still hold ends with them, and is seen then.
	if err := b.await(ctx, "the old processes to end", settled); err != nil {
		return err
	}
	return b.pause(ctx)
}

// start starts the first process, and waits until it serves.
func (b *bench) start(ctx context.Context, dir string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.addr = ln.Addr().String()
	_ = ln.Close() // its port is free again, also to be bound time after time
	program, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(b.log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "LISTEN_") }),
		roleEnv+"="+b.p.name, addrEnv+"="+b.addr, dirEnv+"="+dir, graceEnv+"="+b.o.grace.String())
	cmd.Stdout, cmd.Stderr = log, log
	if b.first, err = b.kids.Start(cmd); err != nil {
		return err
	}
	return b.await(ctx, "the first process to serve", b.changed)
}

// upgrade asks for an upgrade, and waits until another process serves.
func (b *bench) upgrade(ctx context.Context) error {
	to, sig := b.pid, syscall.SIGHUP
	if b.p.first {
		to = b.first
	}
	if b.p.signal == "USR2" {
		sig = syscall.SIGUSR2
	}
	if err := b.kids.Signal(to, sig); err != nil {
		return err
	}
	return b.await(ctx, "the new process to serve", b.changed)
}

// changed asks who serves, and reports whether that is somebody else than before. A failure counts for nothing here.
func (b *bench) changed() bool {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: stepTimeout}
	resp, err := c.Get("http://" + b.addr + "/token?token=who")
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // the header says it
	pid, err := strconv.Atoi(resp.Header.Get("X-Segue-Pid"))
	if err != nil || pid == b.pid {
		return false
	}
	b.pid = pid
	return true
}

func (b *bench) await(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout+b.o.grace, errors.New("it takes too long"))
	defer cancel()
	if err := children.Eventually(ctx, ok); err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}

// pause lets a random time pass, so that upgrades meet the clients in many states.
func (b *bench) pause(ctx context.Context) error {
	t := time.NewTimer(b.o.pause*3/4 + time.Duration(b.rng.Int64N(int64(b.o.pause/2)+1)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lastLines are the last ones that the servers have written.
func (b *bench) lastLines() string {
	const most = 2000
	log, err := os.ReadFile(b.log)
	if log = bytes.TrimSpace(log); err != nil || len(log) == 0 {
		return ""
	}
	return "\nthe servers' last lines:\n" + string(log[max(0, len(log)-most):])
}
