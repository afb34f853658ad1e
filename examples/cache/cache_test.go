package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"
)

// move does to b what an upgrade does from a to b, with f between what is sent ahead and the gap.
func move(t *testing.T, a, b *cache, f func()) {
	t.Helper()
	from, to := a.section(), b.section()
	var ahead, gap bytes.Buffer
	ctx := t.Context()
	err := from.Ahead(ctx, &ahead)
	f()
	section := func(b bytes.Buffer) *io.SectionReader {
		return io.NewSectionReader(bytes.NewReader(b.Bytes()), 0, int64(b.Len()))
	}
	err = errors.Join(err, to.RestoreAhead(ctx, section(ahead)))
	if len(b.values) > 0 {
		t.Error("what was sent ahead is served before the difference is there")
	}
	if err := errors.Join(err, from.Save(ctx, &gap), to.Restore(ctx, section(gap))); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(a.values, b.values, slices.Equal) {
		t.Errorf("%d values have become %d others", len(a.values), len(b.values))
	}
}

// TestDifference: what moves ahead and in the gap is together what there is, whatever happens in between.
func TestDifference(t *testing.T) {
	const size = 100
	key := func(i int) string { return fmt.Sprint("key", i) }
	for name, between := range map[string]func(*cache){
		"nothing": func(*cache) {},
		"written": func(c *cache) { c.put(key(1), []byte("new")); c.put("another", nil) },
		"dropped": func(c *cache) { c.drop(key(1)); c.put("another", nil); c.drop("another"); c.drop("none") },
		"cleared": func(c *cache) { c.clear() },
		"evicted": func(c *cache) {
			for i := range size {
				c.put(key(size+i), []byte("new"))
			}
		},
		"more than the cache holds": func(c *cache) {
			for i := range 5 * size {
				c.put(key(size+i), []byte("new"))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newCache(size)
			for i := range size - 10 {
				a.put(key(i), []byte("old"))
			}
			move(t, a, newCache(size), func() { between(a) })
			if len(a.values) > size {
				t.Errorf("%d values, not %d", len(a.values), size)
			}
			b := newCache(size) // another attempt, after one that failed
			move(t, a, b, func() { between(a) })
			move(t, b, newCache(size), func() { between(b) })
		})
	}
}

// TestGivenUp: an upgrade that is given up is not waited for.
func TestGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newCache(1)
	c.put("a", nil)
	if err := c.section().Ahead(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("Ahead = %v", err)
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(2, 3)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	allowed := func(after time.Duration) (n int) {
		now = now.Add(after)
		for l.allow("a", now) {
			n++
		}
		return n
	}
	for i, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 3}, {0, 0}, {400 * time.Millisecond, 0}, {100 * time.Millisecond, 1}, {time.Hour, 3}, {-time.Hour, 0},
		{time.Second, 2}} {
		if got := allowed(tt.after); got != tt.want {
			t.Errorf("%d: after %v more %d were allowed, not %d", i, tt.after, got, tt.want)
		}
	}
	for i := range maxClients + 1 { // who is full again is forgotten
		if !l.allow(fmt.Sprint(i), now.Add(time.Duration(i)*time.Second)) {
			t.Fatal("a new client is not allowed anything")
		}
	}
}
