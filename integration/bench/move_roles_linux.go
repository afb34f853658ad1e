package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/handoff/timeline"
)

// allTimes are all the times at which things happened, and how long this process had had a CPU by then.
type allTimes struct {
	mu sync.Mutex
	at map[string][]int64
}

func (a *allTimes) add(what string) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return
	}
	cpu := cpuTime()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[what] = append(a.at[what], t.Nano())
	a.at[what+", CPU"] = append(a.at[what+", CPU"], int64(cpu))
}

func (a *allTimes) all() map[string][]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := maps.Clone(a.at)
	for k := range c {
		c[k] = slices.Clone(c[k])
	}
	return c
}

// playHTTP serves on path by package serve, and answers the commands moved and memory.
func playHTTP(ctx context.Context, c *control, path string) error {
	times := allTimes{at: map[string][]int64{}}
	gen, err := handoff.Join(ctx, handoff.Config{Path: path, Guard: -1, DrainTimeout: -1, Trace: &handoff.Trace{
		Sent:     func(m timeline.Message) { times.add("sent " + string(m.Type)) },
		Received: func(m timeline.Message) { times.add("received " + string(m.Type)) },
	}})
	if err != nil {
		return err
	}
	defer gen.Close()
	ln, err := gen.Listen(ctx, "tcp", anyPort)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	handleBodies(mux)
	s := &http.Server{Handler: mux}
	before := memory()
	go func() { // ends with the commands, and is not waited for: this process ends with it
		for gen.Status().Phase != handoff.PhaseServing {
			time.Sleep(100 * time.Microsecond)
		}
		if c.say(reply{Addrs: map[string]string{"http": ln.Addr().String()}, Count: before}) != nil {
			return
		}
		for command := range c.commands {
			var r reply
			switch command {
			case "moved":
				r.Times, r.Count = times.all(), uint64(gen.Status().Arrived)
			case "memory":
				r.Count = memory()
			}
			if c.say(r) != nil {
				return
			}
		}
	}()
	if err := serve.Run(ctx, gen, serve.HTTP(s, ln)); err != nil {
		return err
	}
	<-ctx.Done() // all connections may have moved before this one is asked when
	return nil
}

// memory is what this process has in use.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// playReceive receives n descriptors over descriptor 4, and says so there.
func playReceive(c *control, n string) error {
	limit, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	f := os.NewFile(4, "bare")
	conn, err := net.FileConn(f)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := f.Close(); err != nil {
		return err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("descriptor 4 is no Unix connection")
	}
	if err := errors.Join(c.say(reply{}), u.SetDeadline(time.Now().Add(patience))); err != nil {
		return err
	}
	before := cpuTime()
	m, err := fdpass.RecvAll(u, make([]byte, 64), limit)
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = u.Write([]byte("all"))
	return errors.Join(err, c.say(reply{Count: cpuTime() - before}))
}
