package main

import (
	"maps"
	"sync"
)

// cache has values by their keys, and notes what has changed since its bulk was sent ahead.
type cache struct {
	size int

	mu     sync.RWMutex
	values map[string][]byte // the bytes of a value never change
	// changed are the keys that were written or dropped since ahead was called; nil if it was not, or if these are so many
	// that the bulk is of no use.
	changed map[string]struct{}
	bulk    map[string][]byte // what a predecessor has sent ahead, until its difference comes too
}

func newCache(size int) *cache { return &cache{size: max(1, size), values: make(map[string][]byte)} }

func (c *cache) get(key string) (value []byte, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	value, ok = c.values[key]
	return value, ok
}

// put takes value. Another one has to go if the cache is full.
func (c *cache) put(key string, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.values[key]; !ok {
		for old := range c.values { // in no order
			if len(c.values) < c.size {
				break
			}
			delete(c.values, old)
			c.note(old)
		}
	}
	c.values[key] = value
	c.note(key)
}

func (c *cache) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.values, key)
	c.note(key)
}

// clear drops everything.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.values)
	c.changed = nil
}

// note notes a change. Callers hold mu.
func (c *cache) note(key string) {
	if c.changed == nil {
		return
	}
	c.changed[key] = struct{}{}
	if len(c.changed) > c.size { // after an upgrade that failed they would become more and more
		c.changed = nil
	}
}

// ahead returns all values, and begins to note changes. The map alone is copied, with the lock held; a cache of many millions
// of values would do that in parts, each with a lock of its own.
func (c *cache) ahead() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = make(map[string]struct{})
	return maps.Clone(c.values)
}

// difference returns what has changed since ahead was called: what was written, and which keys are gone. If whole is set,
// written is everything there is, and what was sent ahead is to be forgotten.
func (c *cache) difference() (written map[string][]byte, gone []string, whole bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.changed == nil {
		return maps.Clone(c.values), nil, true
	}
	written = make(map[string][]byte)
	for key := range c.changed {
		if value, ok := c.values[key]; ok {
			written[key] = value
		} else {
			gone = append(gone, key)
		}
	}
	return written, gone, false
}
