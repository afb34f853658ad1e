package main

import (
	"context"
	"encoding/gob"
	"errors"
	"io"

	"github.com/segue-go/segue/handoff"
)

// register registers what moves in an upgrade. None of it needs Section.Hold: only requests change it, and serve.HTTP holds
// these. It is locked all the same, because the bulk of the cache is sent while requests are served, and because a process
// that gives up an upgrade does not wait for a Save that is late.
func (s *server) register(gen *handoff.Generation) error {
	return errors.Join(
		gen.State("cache", s.cache.section()),
		gen.State("counters", section(s.counters.all, s.counters.replace)),
		gen.State("limiter", section(s.limiter.all, s.limiter.replace)))
}

// section moves what get returns, in the gap of the switch.
func section[T any](get func() T, set func(T)) handoff.Section {
	return handoff.Section{
		Save: func(_ context.Context, w io.Writer) error { return gob.NewEncoder(w).Encode(get()) },
		Restore: func(_ context.Context, r *io.SectionReader) error {
			var v T
			if err := gob.NewDecoder(r).Decode(&v); err != nil {
				return err
			}
			set(v)
			return nil
		},
		// If the successor dies, what it has counted dies with it, as if the clients had never asked. Who gives out numbers
		// that must not come twice would choose RevivalForbid.
		Revival: handoff.RevivalKeep,
	}
}

// section moves the cache: the bulk ahead, while this process serves, and what has changed since in the gap.
func (c *cache) section() handoff.Section {
	return handoff.Section{
		Ahead: func(ctx context.Context, w io.Writer) error {
			return write(ctx, w, header{}, c.ahead(), nil)
		},
		RestoreAhead: func(ctx context.Context, r *io.SectionReader) error {
			bulk := make(map[string][]byte)
			if err := read(ctx, r, bulk); err != nil {
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			// It is of no use before it is complete: if the predecessor dies now, Restore is not called, and an old value
			// would be served for a new one.
			c.bulk = bulk
			return nil
		},
		Save: func(ctx context.Context, w io.Writer) error {
			written, gone, whole := c.difference()
			return write(ctx, w, header{Whole: whole}, written, gone)
		},
		Restore: func(ctx context.Context, r *io.SectionReader) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			bulk := c.bulk
			c.bulk = nil
			if bulk == nil {
				bulk = make(map[string][]byte)
			}
			if err := read(ctx, r, bulk); err != nil {
				return err
			}
			c.values = bulk
			return nil
		},
		// The successor that has died may have stored what is newer than what is here.
		Revival: handoff.RevivalCall,
		Revived: func(context.Context) error {
			c.clear()
			return nil
		},
	}
}

// header is the first thing in the cache's section; entries follow. Both may get fields that an older version of this program
// ignores.
type header struct {
	Whole bool // forget what was sent ahead
}

// entry is one value. They are encoded one by one, as a whole cache would be in memory once more.
type entry struct {
	Key   string
	Value []byte
	Gone  bool // there is none any more
}

func write(ctx context.Context, w io.Writer, h header, written map[string][]byte, gone []string) error {
	enc := gob.NewEncoder(w)
	if err := enc.Encode(h); err != nil {
		return err
	}
	for key, value := range written {
		if ctx.Err() != nil { // the upgrade was given up
			return context.Cause(ctx)
		}
		if err := enc.Encode(entry{Key: key, Value: value}); err != nil {
			return err
		}
	}
	for _, key := range gone {
		if err := enc.Encode(entry{Key: key, Gone: true}); err != nil {
			return err
		}
	}
	return nil
}

// read does to values what was written.
func read(ctx context.Context, r io.Reader, values map[string][]byte) error {
	dec := gob.NewDecoder(r)
	var h header
	if err := dec.Decode(&h); err != nil {
		return err
	}
	if h.Whole {
		clear(values)
	}
	for ctx.Err() == nil {
		var e entry
		err := dec.Decode(&e)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case e.Gone:
			delete(values, e.Key)
		default:
			values[e.Key] = e.Value
		}
	}
	return context.Cause(ctx)
}
