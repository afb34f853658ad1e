package handoff_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff"
)

// limiter allows so many requests per client. A client that comes back to the next generation has not more left.
type limiter struct {
	gate sync.RWMutex // shared by those who count, and taken by Hold
	mu   sync.Mutex   // of what follows
	left map[string]int
}

// allow is what each request calls. It waits while the state moves, and then for good, if it has moved.
func (l *limiter) allow(client string) bool {
	l.gate.RLock()
	defer l.gate.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.left[client]; !ok {
		l.left[client] = 3
	}
	l.left[client]--
	return l.left[client] >= 0
}

// section is all that segue needs to know of it.
func (l *limiter) section() handoff.Section {
	return handoff.Section{
		Hold: func(context.Context) (release func(), err error) {
			l.gate.Lock() // waits for those who count
			return l.gate.Unlock, nil
		},
		Save: func(_ context.Context, w io.Writer) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			return gob.NewEncoder(w).Encode(l.left)
		},
		Restore: func(_ context.Context, r *io.SectionReader) error { return gob.NewDecoder(r).Decode(&l.left) },
	}
}

// A rate limiter that survives an upgrade exactly.
func ExampleGeneration_State() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	start := func() *limiter {
		gen := next()
		orExit(gen.Listen(ctx, "tcp", "127.0.0.1:0"))
		l := &limiter{left: map[string]int{}}
		okay(gen.State("limits", l.section()))
		okay(gen.Ready(ctx)) // restores it, if there is a predecessor
		return l
	}
	first := start()
	fmt.Println(first.allow("alice"), first.allow("alice"))
	second := start()
	fmt.Println(second.allow("alice"), second.allow("alice"))
	// Output:
	// true true
	// true false
}

// cache is large, and changes little at a time.
type cache struct {
	mu      sync.Mutex
	values  map[string]string
	changed map[string]string // since the bulk was sent ahead; nil: it was not
}

func (c *cache) set(key, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[key] = value
	if c.changed != nil {
		c.changed[key] = value
	}
}

func (c *cache) section() handoff.Section {
	restore := func(_ context.Context, r *io.SectionReader) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		var some map[string]string
		if err := gob.NewDecoder(r).Decode(&some); err != nil {
			return err
		}
		maps.Copy(c.values, some)
		return nil
	}
	return handoff.Section{
		Ahead: func(_ context.Context, w io.Writer) error {
			c.mu.Lock()
			all := maps.Clone(c.values) // from here on, changes are noted
			c.changed = map[string]string{}
			c.mu.Unlock()
			return gob.NewEncoder(w).Encode(all)
		},
		RestoreAhead: restore,
		Save: func(_ context.Context, w io.Writer) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			return gob.NewEncoder(w).Encode(c.changed)
		},
		Restore: restore,
		Revival: handoff.RevivalKeep, // an old value does no harm
	}
}

// The bulk of a large cache is sent ahead while the incumbent serves, and in the gap only what has changed since.
func ExampleSection() {
	ctx, next, done := exampleChain(time.Minute)
	defer done()
	first, old := next(), &cache{values: map[string]string{}}
	orExit(first.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(first.State("cache", old.section()))
	okay(first.Ready(ctx))
	old.set("a", "1")

	second, young := next(), &cache{values: map[string]string{}}
	orExit(second.Listen(ctx, "tcp", "127.0.0.1:0"))
	s := young.section()
	ahead := s.RestoreAhead
	s.RestoreAhead = func(ctx context.Context, r *io.SectionReader) error {
		old.set("b", "2") // the incumbent still serves
		return ahead(ctx, r)
	}
	okay(second.State("cache", s))
	okay(second.Ready(ctx))
	fmt.Println(young.values)

	// A revival: the first serves again with what it has.
	okay(second.Fail(errors.New("the database is not there")))
	fmt.Println(old.values)
	// Output:
	// map[a:1 b:2]
	// map[a:1 b:2]
}
