package integration

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
)

// roleCounter answers each line with the next number. The number is its state, and so is the list of all that it gave
// out, which is sent ahead but for its end. It gates its connections itself, as a program does that does not use serve.
func roleCounter(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	p, code := begin(ctx, c, e)
	if p == nil {
		return code
	}
	defer p.end()
	n := &counter{p: p, gate: newGate(), conns: map[net.Conn]bool{}}
	for name, s := range map[string]handoff.Section{"journal": n.journal(), "count": n.count()} {
		if err := p.gen.State(name, s); err != nil {
			e.result("state", err)
			return 1
		}
	}
	_, address, _ := strings.Cut(c.Listen[0], "/")
	ln, err := p.gen.Listen(ctx, "tcp", address)
	if err != nil {
		e.result("listen", err)
		return 1
	}
	p.wg.Go(func() { n.serve(ln) })
	err = p.gen.Ready(ctx)
	e.result("ready", err)
	if err != nil {
		return 1
	}
	err = p.gen.Wait(ctx, n.drain)
	e.result("wait", err)
	if err != nil && ctx.Err() == nil {
		return 1
	}
	return 0
}

// counter is the state and the connections that change it.
type counter struct {
	p    *process
	gate *gate

	mu    sync.Mutex // of what follows: a Save may run when its time is over, and the program goes on
	value uint64
	given []uint64 // all numbers so far
	ahead int      // how many of them were sent ahead
	bad   atomic.Bool

	connsMu sync.Mutex
	conns   map[net.Conn]bool
	served  clients
}

// goWrong does what conf.State says, in the callback that it names.
func (n *counter) goWrong(ctx context.Context, callback string) error {
	at, how, _ := strings.Cut(n.p.State, " ")
	if at != callback || n.bad.Swap(true) {
		return nil
	}
	n.p.e.emit(event{Ev: "fault", Msg: n.p.State})
	switch how {
	case "fails":
		return errors.New(callback + " fails, as the test wants")
	case "hangs": // for longer than it may
		<-ctx.Done()
		time.Sleep(300 * time.Millisecond)
		defer n.p.e.emit(event{Ev: "state", Msg: "hangs no more"})
	case "stops":
		stopSelf()
	case "dies":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
	return nil
}

func (n *counter) count() handoff.Section {
	s := handoff.Section{
		Save: func(ctx context.Context, w io.Writer) error {
			if err := n.goWrong(ctx, "save"); err != nil {
				return err
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.p.e.emit(event{Ev: "state", Msg: "saved", N: int(n.value)})
			return binary.Write(w, binary.BigEndian, n.value)
		},
		Restore: func(ctx context.Context, r *io.SectionReader) error {
			if err := n.goWrong(ctx, "restore"); err != nil {
				return err
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			err := binary.Read(r, binary.BigEndian, &n.value)
			n.p.e.emit(event{Ev: "state", Msg: "restored", N: int(n.value)})
			return err
		},
		Hold: func(ctx context.Context) (func(), error) {
			if err := n.goWrong(ctx, "hold"); err != nil {
				return nil, err
			}
			return n.gate.open, n.gate.shut(ctx)
		},
	}
	n.revival(&s)
	return s
}

func (n *counter) journal() handoff.Section {
	write := func(w io.Writer, from int) error {
		n.mu.Lock()
		part := n.given[from:len(n.given):len(n.given)] // what is given out does not change any more
		n.ahead = len(n.given)
		n.mu.Unlock()
		return binary.Write(w, binary.BigEndian, part)
	}
	read := func(r *io.SectionReader) error {
		part := make([]uint64, r.Size()/8)
		if err := binary.Read(r, binary.BigEndian, part); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.given = append(n.given, part...)
		return nil
	}
	s := handoff.Section{
		Ahead: func(ctx context.Context, w io.Writer) error {
			if err := n.goWrong(ctx, "ahead"); err != nil {
				return err
			}
			return write(w, 0)
		},
		RestoreAhead: func(ctx context.Context, r *io.SectionReader) error {
			if err := n.goWrong(ctx, "restore-ahead"); err != nil {
				return err
			}
			return read(r)
		},
		Save:    func(_ context.Context, w io.Writer) error { return write(w, n.ahead) },
		Restore: func(_ context.Context, r *io.SectionReader) error { return read(r) },
	}
	n.revival(&s)
	return s
}

func (n *counter) revival(s *handoff.Section) {
	switch n.p.Revival {
	case "keep":
		s.Revival = handoff.RevivalKeep
	case "call":
		s.Revival = handoff.RevivalCall
		s.Revived = func(context.Context) error {
			n.p.e.emit(event{Ev: "state", Msg: "revived"})
			return nil
		}
	}
}

func (n *counter) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		n.connsMu.Lock()
		n.conns[c] = true
		n.connsMu.Unlock()
		n.served.add(1)
		go func() {
			defer n.served.add(-1)
			n.answer(c)
			n.connsMu.Lock()
			delete(n.conns, c)
			n.connsMu.Unlock()
			_ = c.Close()
		}()
	}
}

// answer serves one connection. One whose generation is superseded is told so, and goes to the next.
func (n *counter) answer(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err == nil && n.gate.enter() {
			switch line {
			case "next\n":
				_, err = fmt.Fprintln(c, n.next())
			case "journal\n":
				n.mu.Lock()
				b := fmt.Sprintln(n.given)
				n.mu.Unlock()
				_, err = io.WriteString(c, b)
			}
			n.gate.leave()
			if err != nil {
				return
			}
			continue
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if _, err := io.WriteString(c, "moved\n"); err != nil {
			return
		}
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.Copy(io.Discard, c) // what it may have sent is not read, and so not counted
		return
	}
}

func (n *counter) next() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.value++
	n.given = append(n.given, n.value)
	return n.value
}

// drain sends everybody on. The gate is shut since the switch, and opened again by a revival, which may come before.
func (n *counter) drain(ctx context.Context) error {
	n.gate.end()
	defer func() {
		if n.p.gen.Status().Phase == handoff.PhaseServing {
			n.gate.open()
		}
	}()
	n.connsMu.Lock()
	for c := range n.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	n.connsMu.Unlock()
	return n.served.drain(ctx)
}

// gate lets requests through, one or many at a time, while it is open.
type gate struct {
	mu      sync.Mutex
	cond    *sync.Cond
	closed  bool
	over    bool
	inside  int
	waiting chan struct{} // closed when nobody is inside; nil: nobody waits for that
}

func newGate() *gate {
	g := &gate{}
	g.cond = sync.NewCond(&g.mu)
	return g
}

// enter reports whether the request may go on; leave follows then.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.closed && !g.over {
		g.cond.Wait()
	}
	if g.over {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.waiting != nil {
		close(g.waiting)
		g.waiting = nil
	}
}

// shut closes the gate, and waits until nobody is inside.
func (g *gate) shut(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	var empty chan struct{}
	if g.inside > 0 {
		empty = make(chan struct{})
		g.waiting = empty
	}
	g.mu.Unlock()
	if empty == nil {
		return nil
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		g.open()
		return context.Cause(ctx)
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.over = false, false
	g.cond.Broadcast()
}

// end turns those away who wait, until the gate is opened again.
func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	g.cond.Broadcast()
}
