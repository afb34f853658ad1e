package raw

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how to ask and whom. Only Address is needed.
type Options struct {
	Network string // "tcp", the default, or "unix"
	Address string

	Modes   []Mode // nil: all
	Clients int    // of each mode; 0 is 1

	// Pace is the longest pause of those that end when something happens; 0 is 150 ms.
	Pace time.Duration
	// Timeout bounds connecting, each write and each answer; 0 is 10 s.
	Timeout time.Duration
	// Seed determines what is random. The tokens are derived from it too.
	Seed uint64
}

// beat is something that happens again and again.
type beat struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that is closed when it happens next.
func (b *beat) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *beat) strike() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// Run is a run that was started. Its methods may be called by many goroutines at once.
type Run struct {
	o        Options
	ctx      context.Context // its end is the end of the run
	cancel   context.CancelFunc
	begun    time.Time
	moments  beat
	complete beat
	answered atomic.Int64
	alive    atomic.Int64
	wg       sync.WaitGroup

	mu      sync.Mutex
	results map[Mode]*ModeResult
}

// Start starts clients, which end with ctx; Wait must be called. The error is about o.
func Start(ctx context.Context, o Options) (*Run, error) {
	if o.Address == "" {
		return nil, errors.New("raw: no Address")
	}
	if o.Network == "" {
		o.Network = "tcp"
	}
	if o.Modes == nil {
		o.Modes = Modes()
	}
	if o.Pace == 0 {
		o.Pace = 150 * time.Millisecond
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	o.Clients = max(1, o.Clients)
	r := &Run{o: o, begun: time.Now(), results: map[Mode]*ModeResult{}}
	var clients []*client
	for _, m := range o.Modes {
		i := slices.IndexFunc(scripts, func(s script) bool { return s.mode == m })
		if i < 0 {
			return nil, fmt.Errorf("raw: no mode %q", m)
		}
		r.results[m] = &ModeResult{Mode: m, Clients: o.Clients, Last: map[int]int{}}
		for n := range o.Clients {
			clients = append(clients, &client{r: r, s: scripts[i], n: n,
				rng: rand.New(rand.NewPCG(o.Seed, uint64(i)<<32|uint64(n)))})
		}
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.alive.Store(int64(len(clients)))
	for _, c := range clients {
		r.wg.Go(func() {
			err := c.work()
			r.alive.Add(-1)
			r.ended(c, err)
		})
	}
	return r, nil
}

// Strike says that something happens at the server just now.
func (r *Run) Strike() { r.moments.strike() }

// Upgraded says that an upgrade is complete.
func (r *Run) Upgraded() { r.complete.strike() }

// Stop ends the run as the end of the context does. It does not wait.
func (r *Run) Stop() { r.cancel() }

// Answered returns how many requests have been answered until now, or little less.
func (r *Run) Answered() int { return int(r.answered.Load()) }

// Alive returns how many clients go on: those that failed do not.
func (r *Run) Alive() int { return int(r.alive.Load()) }

// Wait returns when the run has ended, by the context or Stop, and every connection is closed.
func (r *Run) Wait() *Result {
	r.wg.Wait()
	r.cancel()
	res := &Result{Begun: r.begun, Seed: r.o.Seed}
	for _, m := range r.o.Modes {
		res.Modes = append(res.Modes, *r.results[m])
	}
	return res
}

func (r *Run) connected(m Mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[m].Connections++
}

// took records what a client has asked.
func (r *Run) took(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.results[c.s.mode]
	for _, q := range c.made {
		if q.start.IsZero() {
			continue // never begun
		}
		a := Answer{Token: q.token, Start: q.start}
		if closed(q.done) {
			a.PID, a.End = q.pid, q.end
			m.Answered++
			r.answered.Add(1)
		}
		m.Asked = append(m.Asked, a)
	}
	c.made = c.made[:0]
}

// ended records how a client ended.
func (r *Run) ended(c *client, err error) {
	f := Failure{Mode: c.s.mode, Client: c.n, At: time.Now()}
	if c.conn != nil {
		f.Dialed, f.Local = c.conn.dialed, c.conn.nc.LocalAddr().String()
		c.conn.close()
		f.Answered, f.PID = c.conn.answered, c.conn.pid // its reader has ended
	}
	r.took(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.results[c.s.mode]
	if err == nil {
		m.Last[f.PID]++
		return
	}
	f.Op, f.Err = "?", err
	if e, ok := errors.AsType[*opError](err); ok {
		f.Op, f.Token, f.Err = e.op, e.token, e.err
	}
	m.Failures = append(m.Failures, f)
}
