package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/integration/children"
	"github.com/segue-go/segue/integration/load"
)

const (
	// stepTimeout bounds the wait for any one thing to happen.
	stepTimeout = 10 * time.Second
	// readyTimeout is given to the servers: it is how long the successor that never becomes ready is borne.
	readyTimeout = 2 * time.Second
	// drainTimeout is given to the servers too. It is longer than the demo, so that nothing is forced.
	drainTimeout = 2 * time.Minute
)

// demo is one run. All but the progress happens in one goroutine.
type demo struct {
	out    io.Writer
	o      options
	rng    *rand.Rand
	log    *serverLog
	kids   *children.Children
	http   *server
	chat   *server
	fault  string // the file that tells a server at its start how to fail
	begun  time.Time
	ended  time.Time
	watch  *watcher
	load   *load.Load
	users  *load.Chat
	result *load.Result
	talk   *load.ChatResult
	step   step

	events   []event // in order of time
	deaths   deaths  // of the HTTP server's successors after commit
	took     []time.Duration
	problems []string // what went otherwise than expected, but for what the load found
}

// event is something that failures may have to do with.
type event struct {
	at      time.Time
	until   time.Time // when it was over, if that is known and later
	what    string
	upgrade bool   // one that succeeded
	mark    string // what a picture says of it; "" is that it does not show it
}

// death is a successor that died after commit. What it had accepted dies with it.
type death struct {
	pid   int
	after time.Time // it accepted nothing before
	at    time.Time
}

// deaths are guarded, as the progress asks for them while they happen.
type deaths struct {
	mu   sync.Mutex
	list []death
}

func (l *deaths) add(x death) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, x)
}

func (l *deaths) all() []death {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

func newDemo(out io.Writer, dir string, o options, log *serverLog, kids *children.Children) *demo {
	return &demo{out: out, o: o, rng: rand.New(rand.NewPCG(o.seed, 0)), log: log, kids: kids,
		http:  &server{name: "http", program: o.http, segue: filepath.Join(dir, "http.sock")},
		chat:  &server{name: "chat", program: o.chat, segue: filepath.Join(dir, "chat.sock")},
		fault: filepath.Join(dir, "fault")}
}

// problem records that something went otherwise than expected.
func (d *demo) problem(format string, args ...any) {
	d.problems = append(d.problems, fmt.Sprintf(format, args...))
	d.log.note("PROBLEM: "+format, args...)
}

// play plays the scenario; what goes wrong is in d afterwards.
func (d *demo) play(ctx context.Context) {
	d.begun = time.Now()
	defer func() { d.ended = time.Now() }()
	if err := d.setFault(""); err != nil {
		d.problem("%v", err)
		return
	}
	for _, s := range d.servers() {
		if err := d.first(ctx, s); err != nil {
			d.problem("the first process of examples/%s did not start: %v", s.name, err)
			return
		}
	}
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx)) // its end is part of the scenario
	defer unwatch()
	d.watch = watch(watching, d.http.addr)
	var err error
	if d.load, err = load.Start(watching, d.traffic()); err != nil {
		d.problem("%v", err)
		return
	}
	if d.users, err = load.StartChat(watching, d.chatter()); err != nil {
		d.problem("%v", err)
		return
	}
	stopProgress := d.progress()
	if err := d.steps(ctx); err != nil {
		d.problem("%v", err)
	}
	d.step.set("the clients finish")
	d.users.Stop()
	d.talk = d.users.Wait()
	d.load.Stop()
	d.result = d.load.Wait()
	unwatch()
	<-d.watch.done
	d.step.set("the servers end")
	d.finish(context.WithoutCancel(ctx))
	stopProgress()
}

// traffic is what the clients do. It loads one core or so: this is about what is lost, not about how much is possible.
// Each of the idle connections is used at the start, at the end, and about once in between.
func (d *demo) traffic() load.Options {
	return load.Options{Address: d.http.addr, Seed: d.o.seed, New: 6, Kept: 24, Slow: 24, Upload: 16, Idle: 2000,
		Pace: 20 * time.Millisecond, Rest: 15 * time.Second}
}

// steps are the scenario proper.
func (d *demo) steps(ctx context.Context) error {
	step := func(what string, f func(context.Context) error) error {
		d.step.set(what)
		d.log.note("%s", what)
		ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("waited %v for it", stepTimeout))
		defer cancel()
		if err := f(ctx); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return d.pause(ctx)
	}
	ways := []struct {
		name string
		f    func(context.Context, string) error
	}{{"by SIGHUP", d.bySignal}, {"by a second start", d.bySecondStart}}

	err := step("warming up", func(ctx context.Context) error {
		r, err := d.watch.await(ctx, func(int) bool { return true })
		if err != nil {
			return err
		}
		d.http.chain = append(d.http.chain, r.pid)
		if err := d.chatBegins(ctx); err != nil {
			return err
		}
		idle := d.traffic().Idle
		if err := children.Eventually(ctx, func() bool { return d.load.Counts().Requests >= idle }); err != nil {
			return fmt.Errorf("only %d requests: %w", d.load.Counts().Requests, err)
		}
		return nil
	})
	for n := range d.o.upgrades {
		if err != nil {
			return err
		}
		way := ways[n%len(ways)]
		name := fmt.Sprintf("upgrade %d, %s", n+1, way.name)
		err = step(name, func(ctx context.Context) error { return way.f(ctx, name) })
	}
	if err != nil {
		return err
	}
	if err := step("successors that crash in start-up", d.crash); err != nil {
		return err
	}
	if err := step("successors that are never ready", d.neverReady); err != nil {
		return err
	}
	if err := step("successors that die after commit", d.dieAfterCommit); err != nil {
		return err
	}
	name := "one more upgrade, by SIGHUP"
	return step(name, func(ctx context.Context) error { return d.bySignal(ctx, name) })
}

// pause lets a random time pass, so that upgrades meet the clients in many states.
func (d *demo) pause(ctx context.Context) error {
	t := time.NewTimer(700*time.Millisecond + time.Duration(d.rng.Int64N(int64(600*time.Millisecond))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
