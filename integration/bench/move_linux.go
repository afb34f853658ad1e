package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

// moving is about idle connections that move to a successor.
func moving(ctx context.Context, o options, dir string) ([]figure, error) {
	limit := func(d time.Duration) aim { return aim{limit: float64(d), text: "< " + nanoseconds(float64(d))} }
	thrice := aim{by: atMost, limit: 3, text: "≤ 3"}
	live := figure{name: fmt.Sprintf("%d idle connections, CONFIRM to the last one parked, beside bare descriptors", o.idle), unit: nanoseconds, aim: thrice}
	parked := figure{name: "  that the incumbent has parked itself", unit: nanoseconds, aim: thrice}
	cpu := figure{name: "  CPU time of both processes for each", unit: nanoseconds, aim: aim{by: atMost}}
	parkedCPU := figure{name: "  that the incumbent has parked itself", unit: nanoseconds, aim: aim{by: atMost}}
	gap := figure{name: "  each in nobody's hands, at most: 99 of 100", unit: nanoseconds, aim: limit(2 * time.Millisecond)}
	worst := figure{name: "  the worst one", unit: nanoseconds, aim: limit(5 * time.Millisecond)}
	lost := figure{name: "  that did not answer afterwards", unit: count, aim: aim{limit: 0, text: "0"}}
	memory := figure{name: "memory of a parked connection, bytes", unit: count, aim: aim{limit: 256, text: "< 256"}}

	rounds := (o.rounds + 11) / 12 // they take seconds
	n := o.idle
	for r := range rounds {
		m := &mover{path: filepath.Join(dir, "move"+strconv.Itoa(r)), n: n}
		err := m.run(ctx)
		m.close()
		if err != nil {
			return nil, err
		}
		for f, v := range map[*figure][2]float64{
			&live: {m.moves[0].took, m.floor}, &parked: {m.moves[1].took, m.floor},
			&cpu: {m.moves[0].cpu / float64(n), m.floorCPU / float64(n)}, &parkedCPU: {m.moves[1].cpu / float64(n), m.floorCPU / float64(n)},
			&gap: {quantile(m.moves[0].gaps, 0.99), m.floor / float64(len(m.moves[0].gaps))}, &worst: {slices.Max(m.moves[0].gaps), m.floor / float64(len(m.moves[0].gaps))},
			&lost: {m.lost, 0}, &memory: {m.memory, 0},
		} {
			f.ours, f.floor = append(f.ours, v[0]), append(f.floor, v[1])
		}
	}
	return []figure{live, parked, cpu, parkedCPU, gap, worst, lost, memory}, nil
}

// mover is one round.
type mover struct {
	path     string
	n        int
	conns    []*client
	procs    []*process
	moves    []move
	floor    float64
	floorCPU float64 // of both processes
	memory   float64
	lost     float64
}

// move is one of all connections from one process to another.
type move struct {
	took float64
	cpu  float64   // of both processes
	gaps []float64 // how long the connections of each batch were in nobody's hands, at most
}

func (m *mover) close() {
	for _, c := range m.conns {
		c.hangUp()
	}
	endAll(m.procs)
}

func (m *mover) run(ctx context.Context) error {
	first, r, err := start(ctx, "http", m.path)
	if err != nil {
		return err
	}
	m.procs = append(m.procs, first)
	for range m.n {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c, err := newClient(r.Addrs["http"], small)
		if err != nil {
			return err
		}
		if err := c.dial(); err != nil {
			return err
		}
		m.conns = append(m.conns, c)
	}
	if err := m.ask(ctx); err != nil {
		return err
	}
	if err := m.bare(ctx); err != nil {
		return err
	}
	for range 2 {
		if err := m.move(ctx); err != nil {
			return err
		}
	}
	for _, c := range m.conns {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c.get("/") != nil { // once: who asks again does not see an answer that was lost
			m.lost++
		}
	}
	return nil
}

// ask has each connection answered once.
func (m *mover) ask(ctx context.Context) error {
	for _, c := range m.conns {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.get("/"); err != nil {
			return err
		}
	}
	return nil
}

// move starts a successor and waits until it has all connections.
func (m *mover) move(ctx context.Context) error {
	from := m.procs[len(m.procs)-1]
	to, r, err := start(ctx, "http", m.path)
	if err != nil {
		return err
	}
	m.procs = append(m.procs, to)
	before := r.Count
	for since := time.Now(); ; time.Sleep(100 * time.Millisecond) { // seldom: to be asked is work, too
		if r, err = to.ask(ctx, "moved"); err != nil {
			return err
		}
		if int(r.Count) >= m.n {
			break
		}
		if time.Since(since) > patience {
			return fmt.Errorf("%d of %d connections have moved within %v", r.Count, m.n, patience)
		}
	}
	sent, err := from.ask(ctx, "moved")
	if err != nil {
		return err
	}
	// All the same it closes its copies, for longer than the move took; that is not to slow down what is measured next.
	from.end()
	m.procs = m.procs[1:]
	if len(m.moves) == 0 {
		after, err := to.ask(ctx, "memory")
		if err != nil {
			return err
		}
		m.memory = (float64(after.Count) - float64(before)) / float64(m.n)
	}
	// The first TAKEN is that of the offer.
	conns, taken := sent.Times["sent conns"], r.Times["sent taken"][1:]
	if len(conns) != len(taken) {
		return fmt.Errorf("%d batches sent, %d taken", len(conns), len(taken))
	}
	confirm := r.Times["sent confirm"][0]
	last := len(taken) - 1
	v := move{
		took: float64(taken[last] - confirm),
		cpu: float64(sent.Times["received taken, CPU"][last+1] - sent.Times["received confirm, CPU"][0] +
			r.Times["sent taken, CPU"][last+1] - r.Times["sent confirm, CPU"][0]),
	}
	left := confirm // those of a batch leave when the one before has been sent, at the earliest
	for i := range conns {
		v.gaps = append(v.gaps, float64(taken[i]-left))
		left = conns[i]
	}
	m.moves = append(m.moves, v)
	return nil
}

// bare sends as many descriptors to another process, which does nothing with them.
func (m *mover) bare(ctx context.Context) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := listener.NewFD(pair[0]).File("bare"), listener.NewFD(pair[1]).File("bare")
	defer ours.Close()
	p, _, err := startWith(ctx, theirs, "receive", strconv.Itoa(m.n))
	_ = theirs.Close()
	if err != nil {
		return err
	}
	defer p.end()
	c, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	defer c.Close()
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("a socket pair is no Unix connection")
	}
	_ = u.SetDeadline(time.Now().Add(patience))
	fds := make([]*listener.FD, m.n)
	for i, c := range m.conns {
		fds[i] = listener.NewFD(c.fd)
	}
	defer func() {
		for _, fd := range fds {
			fd.Disown() // they are the clients'
		}
	}()
	began, cpu := time.Now(), cpuTime()
	if err := fdpass.SendAll(u, []byte("descriptors"), fds); err != nil {
		return err
	}
	if _, err := u.Read(make([]byte, 16)); err != nil {
		return err
	}
	m.floor, m.floorCPU = float64(time.Since(began)), float64(cpuTime()-cpu)
	r, err := p.hear(ctx)
	m.floorCPU += float64(r.Count)
	return err
}

// latency is about requests on kept connections around an upgrade.
func latency(ctx context.Context, o options, dir string) ([]figure, error) {
	f := figure{name: "p99 of kept connections within 200 ms of an upgrade, beside quiet time", unit: nanoseconds,
		aim: aim{by: atMost, limit: 1.5, text: "≤ 1.5"}}
	path := filepath.Join(dir, "latency")
	p, r, err := start(ctx, "http", path)
	if err != nil {
		return nil, err
	}
	defer func() { p.end() }()
	rounds := (o.rounds + 2) / 3
	for range rounds {
		var near, quiet []float64
		upgraded := make(chan time.Time, 1)
		stop, cancel := context.WithCancel(ctx)
		var mu sync.Mutex
		var wg sync.WaitGroup
		var errs error
		type sample struct{ at, took time.Duration }
		var samples []sample
		began := time.Now()
		for range workers {
			wg.Go(func() {
				c, err := newClient(r.Addrs["http"], small)
				if err == nil {
					err = c.dial()
				}
				defer c.hangUp()
				var own []sample
				for err == nil && stop.Err() == nil {
					at := time.Now()
					err = c.get("/")
					own = append(own, sample{at.Sub(began), time.Since(at)})
					time.Sleep(2 * time.Millisecond) // between requests, like a client that has something else to do
				}
				mu.Lock()
				defer mu.Unlock()
				samples, errs = append(samples, own...), errors.Join(errs, err)
			})
		}
		pause := func(d time.Duration) {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
		}
		pause(400 * time.Millisecond)
		next, reply, err := start(ctx, "http", path)
		if err == nil {
			upgraded <- time.Now()
			pause(400 * time.Millisecond)
		}
		cancel()
		wg.Wait()
		if err = errors.Join(err, errs); err != nil {
			if next != nil {
				next.end()
			}
			return nil, err
		}
		p.end()
		p, r = next, reply
		at := (<-upgraded).Sub(began)
		for _, s := range samples {
			if (s.at - at).Abs() <= 200*time.Millisecond {
				near = append(near, float64(s.took))
			} else {
				quiet = append(quiet, float64(s.took))
			}
		}
		f.ours, f.floor = append(f.ours, quantile(near, 0.99)), append(f.floor, quantile(quiet, 0.99))
	}
	return []figure{f}, nil
}
