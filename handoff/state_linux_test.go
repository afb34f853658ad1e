package handoff_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// cell is state of a test, and what was done with it.
type cell struct {
	mu    sync.Mutex
	value []byte
	calls []string

	// fail is what a callback returns: by its name. block makes it wait until its context ends, and then for letGo.
	fail   map[string]error
	panics bool // instead
	block  string
	letGo  chan struct{}
	// entered gets the name of each callback that is called, if there is room.
	entered chan string
	// then is called in each callback, with its name.
	then func(string)
}

func newCell(value string) *cell {
	return &cell{value: []byte(value), letGo: make(chan struct{}), entered: make(chan string, 100)}
}

// call notes that a callback was called, and does what the test wants of it.
func (c *cell) call(ctx context.Context, name string) error {
	c.mu.Lock()
	c.calls = append(c.calls, name)
	err, block, then, panics := c.fail[name], c.block == name, c.then, c.panics
	c.mu.Unlock()
	if panics && err != nil {
		panic(err)
	}
	select {
	case c.entered <- name:
	default:
	}
	if then != nil {
		then(name)
	}
	if block {
		<-ctx.Done()
		<-c.letGo
	}
	return err
}

// on sets what is called in each callback.
func (c *cell) on(f func(string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.then = f
}

func (c *cell) called() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.calls, " ")
}

func (c *cell) get() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.value)
}

func (c *cell) set(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value = []byte(s)
}

func (c *cell) write(name string) func(context.Context, io.Writer) error {
	return func(ctx context.Context, w io.Writer) error {
		if err := c.call(ctx, name); err != nil {
			return err
		}
		_, err := io.WriteString(w, c.get())
		return err
	}
}

func (c *cell) read(name string) func(context.Context, *io.SectionReader) error {
	return func(ctx context.Context, r *io.SectionReader) error {
		if err := c.call(ctx, name); err != nil {
			return err
		}
		b, err := io.ReadAll(r)
		if err == nil && r.Size() != int64(len(b)) {
			err = fmt.Errorf("%d bytes of %d", len(b), r.Size())
		}
		if err == nil {
			c.set(string(b))
		}
		return err
	}
}

// exact is a section that moves in the gap.
func (c *cell) exact() handoff.Section {
	return handoff.Section{
		Save: c.write("save"), Restore: c.read("restore"),
		Hold: func(ctx context.Context) (func(), error) {
			return func() { _ = c.call(ctx, "release") }, c.call(ctx, "hold")
		},
	}
}

// both is one that moves ahead, too.
func (c *cell) both() handoff.Section {
	s := c.exact()
	s.Ahead, s.RestoreAhead = c.write("ahead"), c.read("restore-ahead")
	return s
}

func state(t *testing.T, g *handoff.Generation, name string, s handoff.Section) {
	t.Helper()
	if err := g.State(name, s); err != nil {
		t.Fatalf("State: %v", err)
	}
}

// firstWith is a generation that serves and has one section.
func firstWith(t *testing.T, c handoff.Config, s handoff.Section) (*handoff.Generation, net.Listener) {
	t.Helper()
	g := join(t, c)
	l := listen(t, g, "tcp", "127.0.0.1:0")
	state(t, g, "cell", s)
	ready(t, g)
	return g, l
}

// nextWith is a successor of it that is not yet ready.
func nextWith(t *testing.T, c handoff.Config, s handoff.Section) (*handoff.Generation, net.Listener) {
	t.Helper()
	g := join(t, c)
	l := listen(t, g, "tcp", "127.0.0.1:0")
	state(t, g, "cell", s)
	return g, l
}

// TestState: what one generation has made of its state is what the next begins with, over a chain in which older ones
// still drain.
func TestState(t *testing.T) {
	for _, tt := range []struct {
		name    string
		section func(*cell) handoff.Section
		gives   string // what is called in one that hands over
		takes   string
	}{
		{"exact", (*cell).exact, "hold save", "restore"},
		{"ahead and exact", (*cell).both, "ahead hold save", "restore-ahead restore"},
		{"ahead", func(c *cell) handoff.Section {
			return handoff.Section{Ahead: c.write("ahead"), RestoreAhead: c.read("restore-ahead")}
		}, "ahead", "restore-ahead"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, rendezvous(t))
			c.Guard = time.Minute
			was := newCell("1")
			a, _ := firstWith(t, c, tt.section(was))
			if got := was.called(); got != "" {
				t.Errorf("called in the first generation: %s", got)
			}
			for i := range 3 {
				is := newCell("nothing")
				b, l := nextWith(t, c, tt.section(is))
				ready(t, b)
				superseded(t, a)
				if is.get() != was.get() || is.called() != tt.takes {
					t.Errorf("%d: restored %q by %q, want %q by %q", i, is.get(), is.called(), was.get(), tt.takes)
				}
				want := tt.gives
				if i > 0 {
					want = tt.takes + " " + want
				}
				if got := was.called(); got != want {
					t.Errorf("%d: called %q, want %q", i, got, want)
				}
				serves(t, l)
				is.set(is.get() + ", 2")
				a, was = b, is
			}
		})
	}
}

// TestStateSections: many sections of all sizes keep their order and their contents.
func TestStateSections(t *testing.T) {
	c := config(t, rendezvous(t))
	const n = 64
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, i*i*i) } // 0 to 250,047 bytes
	a := join(t, c)
	listen(t, a, "tcp", "127.0.0.1:0")
	var saved []int
	for i := range n {
		state(t, a, fmt.Sprint(i), handoff.Section{
			Save: func(_ context.Context, w io.Writer) error {
				saved = append(saved, i)
				_, err := w.Write(content(i))
				return err
			},
			Restore: func(context.Context, *io.SectionReader) error { return nil },
		})
	}
	if err := a.State("one more", newCell("").exact()); !errors.Is(err, handoff.ErrSection) {
		t.Errorf("one more: %v", err)
	}
	ready(t, a)
	b := join(t, c)
	listen(t, b, "tcp", "127.0.0.1:0")
	var restored []int
	for i := n - 1; i >= 0; i-- {
		state(t, b, fmt.Sprint(i), handoff.Section{
			Save: func(context.Context, io.Writer) error { return nil },
			Restore: func(_ context.Context, r *io.SectionReader) error {
				restored = append(restored, i)
				got, err := io.ReadAll(r)
				if err == nil && !bytes.Equal(got, content(i)) {
					err = fmt.Errorf("section %d: got %d bytes that are not those", i, len(got))
				}
				return err
			},
		})
	}
	supersede(t, a, b)
	if !slices.IsSorted(saved) || len(saved) != n || !slices.Equal(restored, saved) {
		t.Errorf("saved %v, restored %v", saved, restored)
	}
}

// TestStateNotShared: what only one side has does not move, and nothing is held for it.
func TestStateNotShared(t *testing.T) {
	c := config(t, rendezvous(t))
	mine, theirs := newCell("mine"), newCell("theirs")
	a, _ := firstWith(t, c, mine.both())
	b := join(t, c)
	listen(t, b, "tcp", "127.0.0.1:0")
	state(t, b, "another", theirs.both())
	supersede(t, a, b)
	if got := mine.called() + theirs.called(); got != "" {
		t.Errorf("called: %s", got)
	}
}

// TestStateOtherForm: what the successor could not read is not written.
func TestStateOtherForm(t *testing.T) {
	c := config(t, rendezvous(t))
	mine, theirs := newCell("mine"), newCell("theirs")
	a, la := firstWith(t, c, mine.both())
	b, _ := nextWith(t, c, theirs.exact())
	wantErr(t, "Ready", b.Ready(bounded(t)), handoff.ErrAborted)
	failedWith(t, a, handoff.ErrSection)
	if got := mine.called() + theirs.called(); got != "" {
		t.Errorf("called: %s", got)
	}
	serves(t, la)
}

// TestStateErrors: what cannot move is refused at once.
func TestStateErrors(t *testing.T) {
	ok := newCell("").both()
	with := func(change func(*handoff.Section)) handoff.Section {
		s := ok
		change(&s)
		return s
	}
	c := config(t, rendezvous(t))
	a := join(t, c)
	listen(t, a, "tcp", "127.0.0.1:0")
	state(t, a, "there already", ok)
	for name, tt := range map[string]struct {
		name    string
		section handoff.Section
	}{
		"no name":            {"", ok},
		"long name":          {strings.Repeat("a", 256), ok},
		"NUL in the name":    {"a\x00", ok},
		"there already":      {"there already", ok},
		"nothing":            {"a", handoff.Section{}},
		"no Restore":         {"a", with(func(s *handoff.Section) { s.Restore = nil })},
		"no RestoreAhead":    {"a", with(func(s *handoff.Section) { s.RestoreAhead = nil })},
		"no Ahead":           {"a", with(func(s *handoff.Section) { s.Ahead = nil })},
		"Hold and Ahead":     {"a", with(func(s *handoff.Section) { s.Save, s.Restore = nil, nil })},
		"Call, no Revived":   {"a", with(func(s *handoff.Section) { s.Revival = handoff.RevivalCall })},
		"Revived, no Call":   {"a", with(func(s *handoff.Section) { s.Revived = func(context.Context) error { return nil } })},
		"unknown Revival":    {"a", with(func(s *handoff.Section) { s.Revival = 7 })},
		"longest name, fine": {strings.Repeat("a", 255), ok},
	} {
		err := a.State(tt.name, tt.section)
		if fine := strings.Contains(name, "fine"); fine != (err == nil) || !fine && !errors.Is(err, handoff.ErrSection) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	ready(t, a)
	wantErr(t, "State after Ready", a.State("late", ok), handoff.ErrSection)
	shut(t, a)
	wantErr(t, "State after Close", a.State("late", ok), net.ErrClosed)

	c.Probation = time.Millisecond
	b := join(t, c)
	wantErr(t, "State with Probation", b.State("a", ok), handoff.ErrSection)
	state(t, b, "a", with(func(s *handoff.Section) { s.Probation = true }))
	shut(t, b)
	c.Probation, c.Check = 0, func(context.Context) error { return nil }
	d := join(t, c)
	wantErr(t, "State with Check", d.State("a", ok), handoff.ErrSection)
}

// TestStateMemory: a large section is written once and read where it was written, not copied into memory of ours.
func TestStateMemory(t *testing.T) {
	const size, chunk = 64 << 20, 1 << 20
	c := config(t, rendezvous(t))
	part, read := bytes.Repeat([]byte("segue..."), chunk/8), make([]byte, chunk)
	var got int64
	large := handoff.Section{
		Save: func(_ context.Context, w io.Writer) error {
			for range size / chunk {
				if _, err := w.Write(part); err != nil {
					return err
				}
			}
			return nil
		},
		Restore: func(_ context.Context, r *io.SectionReader) error {
			for {
				n, err := r.Read(read)
				if !bytes.Equal(read[:n], part[:n]) {
					return errors.New("other bytes")
				}
				got += int64(n)
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
			}
		},
	}
	a, _ := firstWith(t, c, large)
	b, _ := nextWith(t, c, large)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ready(t, b)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > size/16 {
		t.Errorf("%d bytes were allocated to move %d", n, size)
	}
	if got != size {
		t.Errorf("read %d bytes of %d", got, size)
	}
	superseded(t, a)
}
