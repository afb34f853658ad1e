package main

import (
	"fmt"
	"sync"
	"time"
)

// step is what happens just now.
type step struct {
	mu   sync.Mutex
	what string
}

func (s *step) set(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.what = what
}

func (s *step) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.what
}

// progress prints a line a second until it is stopped; they are plain lines, good for a terminal and for a file.
// Its owner is the process that serves HTTP; heard are lines of the chat, at all users together.
func (d *demo) progress() (stop func()) {
	fmt.Fprintf(d.out, "%5s %7s %8s %8s %6s %6s %7s %7s   %s\n", "time", "owner", "requests", "a second", "failed",
		"forced", "excused", "heard", "doing")
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		before := 0
		for {
			select {
			case <-quit:
				return
			case <-t.C:
			}
			r := d.watch.last()
			d.load.Excuse(d.diedWith)
			c := d.load.Counts()
			fmt.Fprintf(d.out, "%3.0f s %7d %8d %8d %6d %6d %7d %7d   %s\n", time.Since(d.begun).Seconds(), r.pid, c.Requests,
				c.Requests-before, c.Failed, c.Forced, c.Excused, d.users.Counts().Received, d.step.get())
			before = c.Requests
		}
	}()
	return func() { close(quit); <-done }
}
