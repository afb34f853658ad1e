package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/segue-go/segue/handoff"
)

// handovers is a chain of generations through several processes. This one, which is long up and running like a server
// that is to be upgraded, hands over to others and takes over again, many times.
type handovers struct {
	path   string
	floor  *exchanger
	empty  string   // a program that does nothing
	warm   *process // one that has handed over before
	member *member  // what serves here
	next   *process // what Upgrade starts

	timeline moments
}

// handover is about the handover itself.
func handover(ctx context.Context, o options, dir string) (figures []figure, tl moments, err error) {
	h := &handovers{path: filepath.Join(dir, "segue.sock")}
	if h.empty, err = buildEmpty(ctx, dir); err != nil {
		return nil, nil, err
	}
	if h.floor, err = newExchanger(filepath.Join(dir, "floor.sock")); err != nil {
		return nil, nil, err
	}
	defer h.floor.close()
	warm, _, err := start(ctx, "generation", h.path, "go")
	if err != nil {
		return nil, nil, err
	}
	h.warm = warm
	defer warm.end()
	if _, err := h.takeOver(ctx, warm); err != nil {
		return nil, nil, err
	}
	defer func() { h.member.close() }()

	below := func(d time.Duration, by comparison) aim {
		return aim{by: by, limit: float64(d), text: "< " + nanoseconds(float64(d))}
	}
	const (
		owned = iota
		ownedWarm
		gap
		gapWarm
		upgrade
		binary
		figuresN
	)
	figures = make([]figure, figuresN)
	figures[owned] = figure{name: "Join to OWNED in a new process, beside connect and 7 bare messages", aim: below(time.Millisecond, unrelated)}
	figures[ownedWarm] = figure{name: "  in a process that has done it before"}
	figures[gap] = figure{name: "accept gap, pause to open, beside 1 bare message", aim: below(200*time.Microsecond, unrelated)}
	figures[gapWarm] = figure{name: "  in a process that has done it before"}
	figures[upgrade] = figure{name: "Upgrade to OWNED, beside an empty program from start to end", aim: below(5*time.Millisecond, difference)}
	figures[binary] = figure{name: "  this program, exiting at once", aim: aim{by: difference}}
	add := func(i int, ours, floor float64) {
		figures[i].unit = nanoseconds
		figures[i].ours, figures[i].floor = append(figures[i].ours, ours), append(figures[i].floor, floor)
	}
	for r := -1; r < o.rounds; r++ {
		cold, hot, err := h.exchanges(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("bare exchange: %w", err)
		}
		fresh, err := h.fresh(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("handover to a new process: %w", err)
		}
		again, err := h.again(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("handover to a process that runs: %w", err)
		}
		empty, err := ran(ctx, exec.Command(h.empty))
		if err != nil {
			return nil, nil, fmt.Errorf("empty program: %w", err)
		}
		spawned, err := h.upgrade(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("upgrade: %w", err)
		}
		self, err := h.nothing(ctx)
		if err != nil {
			return nil, nil, err
		}
		if r < 0 {
			continue // to warm up
		}
		add(owned, fresh.owned, cold.owned)
		add(gap, fresh.gap, cold.gap)
		add(ownedWarm, again.owned, hot.owned)
		add(gapWarm, again.gap, hot.gap)
		add(upgrade, spawned, empty)
		add(binary, self, empty)
	}
	return figures, h.timeline, nil
}

// times are those of one handover, in nanoseconds.
type times struct{ owned, gap float64 }

// takeOver makes this process the successor of p, which it waits for.
func (h *handovers) takeOver(ctx context.Context, p *process) (times, error) {
	m, err := join(ctx, handoff.Config{Path: h.path, Guard: -1, Command: func() *exec.Cmd { return h.next.cmd }})
	if err != nil {
		return times{}, err
	}
	h.member = m
	r, err := p.hear(ctx)
	if err != nil {
		return times{}, err
	}
	return handed(r.Stamps, m.stamps.all()), nil
}

// superseded waits until the member here is done.
func (h *handovers) superseded(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := h.member.gen.Wait(ctx, nil); err != nil {
		return nil, err
	}
	h.member.close()
	return h.member.stamps.all(), nil
}

func handed(from, to map[string]int64) times {
	return times{
		owned: float64(to["sent owned"] - to["join"]),
		gap:   float64(to["phase serving"] - from["phase switching"]),
	}
}

// fresh hands over to a process that has only just been started, and takes the sockets back from it.
func (h *handovers) fresh(ctx context.Context) (times, error) {
	p, r, err := start(ctx, "generation", h.path, "go")
	if err != nil {
		return times{}, err
	}
	defer p.end()
	from, err := h.superseded(ctx)
	if err != nil {
		return times{}, err
	}
	h.timeline.add(from, r.Stamps)
	t := handed(from, r.Stamps)
	_, err = h.takeOver(ctx, p)
	return t, err
}

// again hands over to a process that has handed over before, and takes over from it.
func (h *handovers) again(ctx context.Context) (times, error) {
	r, err := h.warm.ask(ctx, "join")
	if err != nil {
		return times{}, err
	}
	from, err := h.superseded(ctx)
	if err != nil {
		return times{}, err
	}
	t := handed(from, r.Stamps)
	_, err = h.takeOver(ctx, h.warm)
	return t, err
}

// upgrade starts a successor, hands over to it, and takes the sockets back.
func (h *handovers) upgrade(ctx context.Context) (float64, error) {
	p, err := newProcess("generation", h.path, "go")
	if err != nil {
		return 0, err
	}
	defer p.end()
	h.next = p
	m := h.member
	m.stamps.set("upgrade")
	err = m.gen.Upgrade(ctx)
	p.started()
	if err != nil {
		return 0, err
	}
	if _, err := p.hear(ctx); err != nil {
		return 0, err
	}
	at, err := h.superseded(ctx)
	if err != nil {
		return 0, err
	}
	_, err = h.takeOver(ctx, p)
	return float64(at["received owned"] - at["upgrade"]), err
}

// exchanges measures the floor, in a new process and in the same process later.
func (h *handovers) exchanges(ctx context.Context) (cold, hot times, err error) {
	p, r, err := start(ctx, "exchange", h.floor.l.Addr().String())
	if err != nil {
		return cold, hot, err
	}
	defer p.end()
	for range 5 {
		from, err := h.floor.last(ctx)
		if err != nil {
			return cold, hot, err
		}
		hot = times{
			owned: float64(r.Stamps["done"] - r.Stamps["connect"]),
			gap:   float64(r.Stamps["received commit"] - from["send commit"]),
		}
		if cold == (times{}) {
			cold = hot
		}
		if r, err = p.ask(ctx, "again"); err != nil {
			return cold, hot, err
		}
	}
	_, err = h.floor.last(ctx)
	return cold, hot, err
}

// nothing is how long this program takes when it is a process that has nothing to do.
func (h *handovers) nothing(ctx context.Context) (float64, error) {
	p, err := newProcess("nothing")
	if err != nil {
		return 0, err
	}
	defer func() { p.started(); _, _ = p.in.Close(), p.out.Close() }()
	return ran(ctx, p.cmd)
}

// ran is how long a program takes from its start to the notice of its end.
func ran(ctx context.Context, cmd *exec.Cmd) (float64, error) {
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	err := cmd.Wait()
	return float64(time.Since(began)), err
}

// buildEmpty builds a program that does nothing.
func buildEmpty(ctx context.Context, dir string) (string, error) {
	source, program := filepath.Join(dir, "empty.go"), filepath.Join(dir, "empty")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, source)
	// GOTMPDIR, because what is killed leaves its temporary files.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTMPDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build an empty program (needs go): %w\n%s", err, out)
	}
	return program, nil
}
