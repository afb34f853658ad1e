package main

import (
	"maps"
	"sync"
)

// maxCounters bounds how many there are.
const maxCounters = 10_000

// counters count by name.
type counters struct {
	mu sync.Mutex
	n  map[string]int
}

func newCounters() *counters { return &counters{n: make(map[string]int)} }

// add counts one more, and returns how many these are. It is false if there are too many names.
func (c *counters) add(name string) (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.n[name]; !known && len(c.n) >= maxCounters {
		return 0, false
	}
	c.n[name]++
	return c.n[name], true
}

func (c *counters) get(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// all returns a copy.
func (c *counters) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// replace takes n.
func (c *counters) replace(n map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n = n
}
