package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/handoff/timeline"
	"golang.org/x/sys/unix"
)

const anyPort = "127.0.0.1:0"

// play is what a process does that was started for a role.
func play(role string, args []string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := newControl(cancel)
	var err error
	switch {
	case role == "servers" && len(args) == 1:
		err = playServers(ctx, c, args[0])
	case role == "generation" && len(args) == 2:
		err = playGeneration(ctx, c, args[0], args[1])
	case role == "exchange" && len(args) == 1:
		err = playExchange(c, args[0])
	case (role == "accept" || role == "hold") && len(args) == 0:
		err = playInherited(ctx, c, role == "hold")
	case role == "http" && len(args) == 1:
		err = playHTTP(ctx, c, args[0])
	case role == "receive" && len(args) == 1:
		err = playReceive(c, args[0])
	case role == "nothing":
	default:
		err = fmt.Errorf("unknown role %q %q", role, args)
	}
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil // told to end
	}
	return err
}

// playServers serves the same by net/http alone and by package serve, in one process, so that they differ in nothing
// else. It answers the commands mallocs, writes and cpu.
func playServers(ctx context.Context, c *control, file string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })

	addrs := map[string]string{}
	bare := make([]net.Listener, 2)
	for i, name := range []string{"bare http", "bare accept"} {
		l, err := net.Listen("tcp", anyPort)
		if err != nil {
			return err
		}
		defer l.Close()
		bare[i], addrs[name] = l, l.Addr().String()
	}
	gen, err := handoff.Join(ctx, handoff.Config{})
	if err != nil {
		return err
	}
	defer gen.Close()
	ours := make([]net.Listener, 2)
	for i, name := range []string{"our http", "our accept"} {
		l, err := gen.Listen(ctx, "tcp", anyPort)
		if err != nil {
			return err
		}
		ours[i], addrs[name] = l, l.Addr().String()
	}
	floor := &http.Server{Handler: mux}
	defer func() { _ = floor.Close() }()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _ = floor.Serve(bare[0]) })
	wg.Go(func() { _ = acceptAll(bare[1]) })
	defer func() { _, _ = bare[0].Close(), bare[1].Close() }()
	wg.Go(func() {
		for command := range c.commands {
			var r reply
			switch command {
			case "mallocs":
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				r.Count = m.Mallocs
			case "writes":
				r.Count = writes()
			case "cpu":
				r.Count = cpuTime()
			}
			if c.say(r) != nil {
				return
			}
		}
	})
	if err := c.say(reply{Addrs: addrs}); err != nil {
		return err
	}
	return serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: mux}, ours[0]), serve.Func(ours[1], acceptAll, nil))
}

// acceptAll accepts and closes, until l is closed.
func acceptAll(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_ = c.Close()
	}
}

// writes is how many system calls of this process wrote something: one for each sendfile(2) (proc_pid_io(5)).
func writes() uint64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if v, ok := bytes.CutPrefix(s.Bytes(), []byte("syscw: ")); ok {
			n, _ := strconv.ParseUint(string(v), 10, 64)
			return n
		}
	}
	return 0
}

// cpuTime is what this process has used, in nanoseconds.
func cpuTime() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return uint64(t.Nano())
}

// stamps are the times at which things happened first, by a clock that all processes share.
type stamps struct {
	mu sync.Mutex
	at map[string]int64
}

func (s *stamps) set(what string) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[string]int64{}
	}
	if _, ok := s.at[what]; !ok {
		s.at[what] = t.Nano()
	}
}

func (s *stamps) all() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.at)
}

func (s *stamps) trace() *handoff.Trace {
	return &handoff.Trace{
		Phase:    func(c timeline.PhaseChange) { s.set("phase " + string(c.To)) },
		Sent:     func(m timeline.Message) { s.set("sent " + string(m.Type)) },
		Received: func(m timeline.Message) { s.set("received " + string(m.Type)) },
	}
}

// member is a generation with one listener, and somebody who waits in its Accept.
type member struct {
	gen    *handoff.Generation
	ln     net.Listener
	stamps stamps
	wg     sync.WaitGroup
}

// join returns when the member serves.
func join(ctx context.Context, c handoff.Config) (*member, error) {
	m := new(member)
	c.Trace = m.stamps.trace()
	m.stamps.set("join")
	var err error
	if m.gen, err = handoff.Join(ctx, c); err != nil {
		return nil, err
	}
	m.stamps.set("joined")
	if m.ln, err = m.gen.Listen(ctx, "tcp", anyPort); err != nil {
		_ = m.gen.Close()
		return nil, err
	}
	m.stamps.set("listening")
	m.wg.Go(func() { _ = acceptAll(m.ln) })
	if err := m.gen.Ready(ctx); err != nil {
		m.close()
		return nil, err
	}
	m.stamps.set("ready")
	return m, nil
}

func (m *member) close() {
	_ = m.gen.Close()
	m.wg.Wait()
}

// playGeneration joins path. Its predecessor's guard is over at once, or, if it is to stay, lasts longer than any
// benchmark. It replies when it serves, and once more when it has been superseded; it joins again at the command join.
func playGeneration(ctx context.Context, c *control, path, guard string) error {
	config := handoff.Config{Path: path, Guard: -1, DrainTimeout: -1}
	if guard == "stay" {
		config.Guard = time.Hour
	}
	for {
		m, err := join(ctx, config)
		if err != nil {
			return err
		}
		if err := c.say(reply{Addrs: map[string]string{"accept": m.ln.Addr().String()}, Stamps: m.stamps.all()}); err != nil {
			m.close()
			return err
		}
		err = m.gen.Wait(ctx, nil)
		m.close()
		if err != nil {
			return err
		}
		if err := c.say(reply{Stamps: m.stamps.all()}); err != nil {
			return err
		}
		if command, err := c.next(); err != nil || command != "join" {
			return err
		}
	}
}

// playInherited accepts from the listener that is descriptor 4, or only holds it, in the runtime's poller.
func playInherited(ctx context.Context, c *control, hold bool) error {
	f := os.NewFile(4, "listener")
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := f.Close(); err != nil {
		return err
	}
	if err := c.say(reply{}); err != nil {
		return err
	}
	if !hold {
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		return acceptAll(l)
	}
	// Like a server with idle connections: the runtime looks at its epoll instance only if somebody waits for something.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer context.AfterFunc(ctx, func() { _ = w.Close() })()
	_, err = r.Read(make([]byte, 1))
	return err
}
