package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// side is what is measured in one round: something, or its floor. It may give several values.
type side func(ctx context.Context) ([]float64, error)

// interleave measures all sides by turns, once to warm up and then round by round: forwards, and then backwards, so
// that none of them profits from its place. It returns the values of each side, by their kind.
func interleave(ctx context.Context, rounds int, sides ...side) ([][][]float64, error) {
	values := make([][][]float64, len(sides))
	for r := -1; r < rounds; r++ {
		for i := range sides {
			if r%2 != 0 {
				i = len(sides) - 1 - i
			}
			v, err := sides[i](ctx)
			if err != nil {
				return nil, err
			}
			if r < 0 {
				values[i] = make([][]float64, len(v))
				continue
			}
			for kind := range v {
				values[i][kind] = append(values[i][kind], v[kind])
			}
		}
	}
	return values, nil
}

const fileSize = 16 << 20

// throughput is about a generation that serves and is in no handover.
func throughput(ctx context.Context, o options, dir string) ([]figure, error) {
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, make([]byte, fileSize), 0o600); err != nil {
		return nil, err
	}
	p, ready, err := start(ctx, "servers", file)
	if err != nil {
		return nil, err
	}
	defer p.end()

	http, floor := ready.Addrs["our http"], ready.Addrs["bare http"]
	var figures []figure
	for _, m := range []struct {
		figures     []figure // one for each value of the sides
		ours, floor side
	}{
		{
			busy("accepts, gen.Listen beside net.Listen"),
			loaded(p, ready.Addrs["our accept"], workers, o.slice, (*client).accepted),
			loaded(p, ready.Addrs["bare accept"], workers, o.slice, (*client).accepted),
		}, {
			busy("requests on new connections, serve.HTTP beside http.Server"),
			loaded(p, http, workers, o.slice, (*client).answered),
			loaded(p, floor, workers, o.slice, (*client).answered),
		}, {
			busy("requests on kept connections"),
			loaded(p, http, workers, o.slice, (*client).kept),
			loaded(p, floor, workers, o.slice, (*client).kept),
		}, {
			[]figure{
				{name: "http.ServeFile, 16 MiB", unit: perSecond, aim: aim{by: atLeast}},
				{name: "  the server's CPU time for each", unit: nanoseconds, aim: aim{by: atLeast}},
			},
			loaded(p, http, 1, o.slice, getFile),
			loaded(p, floor, 1, o.slice, getFile),
		}, {
			[]figure{{name: "  its writing system calls (a loop that copies: 512)", unit: count,
				aim: aim{by: difference, limit: 64, text: "sendfile"}}},
			counted(p, "writes", http, 2, getFile),
			counted(p, "writes", floor, 2, getFile),
		}, {
			// Pools that the garbage collector has emptied, and the like, are seen as some hundredths.
			[]figure{{name: "allocations per request", unit: count, aim: aim{by: difference, limit: 0.1, text: "0 added"}}},
			counted(p, "mallocs", http, 1000, (*client).kept),
			counted(p, "mallocs", floor, 1000, (*client).kept),
		},
	} {
		rounds := o.rounds
		if len(m.figures) == 1 {
			rounds = (rounds + 3) / 4 // a count does not scatter much
		}
		v, err := interleave(ctx, rounds, m.ours, m.floor)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.figures[0].name, err)
		}
		for kind, f := range m.figures {
			f.ours, f.floor = v[0][kind], v[1][kind]
			figures = append(figures, f)
		}
	}
	return figures, nil
}

// busy are the figures of a loaded side.
func busy(name string) []figure {
	return []figure{
		{name: name, unit: perSecond, aim: aim{by: atLeast, limit: 0.98, text: "≥ 0.98"}},
		{name: "  the server's CPU time for each", unit: nanoseconds, aim: aim{by: atMost, limit: 1 / 0.98, text: "≤ 1.02"}},
	}
}

// loaded returns a side that gives what load does, and the CPU time of p for each step: that does not depend on how
// much of the machine was left for it.
func loaded(p *process, addr string, n int, d time.Duration, step func(*client) error) side {
	return func(ctx context.Context) ([]float64, error) {
		before, err := p.ask(ctx, "cpu")
		if err != nil {
			return nil, err
		}
		steps, took, err := load(ctx, addr, n, d, step)
		if err != nil {
			return nil, err
		}
		after, err := p.ask(ctx, "cpu")
		return []float64{steps / took.Seconds(), float64(after.Count-before.Count) / steps}, err
	}
}

// counted returns a side that makes n steps on one connection, and tells by how much a count of p grew with each.
func counted(p *process, command, addr string, n int, step func(*client) error) side {
	return func(ctx context.Context) ([]float64, error) {
		c, err := newClient(addr, large)
		if err != nil {
			return nil, err
		}
		defer c.hangUp()
		if err := step(c); err != nil { // a new connection costs more
			return nil, err
		}
		before, err := p.ask(ctx, command)
		if err != nil {
			return nil, err
		}
		for range n {
			if err := step(c); err != nil {
				return nil, err
			}
		}
		after, err := p.ask(ctx, command)
		return []float64{float64(after.Count-before.Count) / float64(n)}, err
	}
}

func getFile(c *client) error { return c.get("/file") }

// older is how many superseded generations are there.
const older = 3

// generations is about what those cost who are superseded, and still alive.
func generations(ctx context.Context, o options, dir string) ([]figure, error) {
	alive, addr, err := chain(ctx, filepath.Join(dir, "alive.sock"), true)
	defer endAll(alive)
	if err != nil {
		return nil, err
	}
	ended, floor, err := chain(ctx, filepath.Join(dir, "ended.sock"), false)
	defer endAll(ended)
	if err != nil {
		return nil, err
	}
	held, heldAddr, err := inherited(ctx, "accept", "hold")
	defer endAll(held)
	if err != nil {
		return nil, err
	}
	alone, aloneAddr, err := inherited(ctx, "accept")
	defer endAll(alone)
	if err != nil {
		return nil, err
	}
	at := func(addr string) side {
		return func(ctx context.Context) ([]float64, error) {
			steps, took, err := load(ctx, addr, workers, o.slice, (*client).accepted)
			return []float64{steps / took.Seconds()}, err
		}
	}
	v, err := interleave(ctx, o.rounds, at(addr), at(floor), at(heldAddr), at(aloneAddr))
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: fmt.Sprintf("accepts, %d older generations alive, beside ended", older), unit: perSecond, ours: v[0][0], floor: v[1][0],
			aim: aim{by: atLeast, limit: 0.95, text: "≥ 0.95"}},
		{name: "  for comparison: one holder left in epoll, without segue", unit: perSecond, ours: v[2][0], floor: v[3][0], aim: aim{by: atLeast}},
	}, nil
}

// chain starts generations one after the other on path. The older ones stay, superseded and in their guard, or are ended.
func chain(ctx context.Context, path string, stay bool) (all []*process, addr string, err error) {
	for range older + 1 {
		p, r, err := start(ctx, "generation", path, "stay")
		if err != nil {
			return all, "", err
		}
		if !stay {
			endAll(all)
			all = nil
		}
		all, addr = append(all, p), r.Addrs["accept"]
	}
	return all, addr, nil
}

func endAll(all []*process) {
	for _, p := range all {
		p.end()
	}
}

// inherited starts a process for each role, all with one listening socket.
func inherited(ctx context.Context, roles ...string) (all []*process, addr string, err error) {
	// Not a net.Listener: a file of one that is given to a child makes the socket blocking for all (golang/go#29277).
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, "", err
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, "", err
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return nil, "", err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, "", err
	}
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return nil, "", fmt.Errorf("unexpected address %v", sa)
	}
	for _, role := range roles {
		p, _, err := startWith(ctx, f, role)
		if err != nil {
			return all, "", err
		}
		all = append(all, p)
	}
	return all, fmt.Sprintf("127.0.0.1:%d", in.Port), nil
}
