package handoff_test

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"golang.org/x/sys/unix"
)

// newMemfd makes a memfd with content and these seals.
func newMemfd(t *testing.T, content string, seals int) *os.File {
	t.Helper()
	n, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(n), "test")
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(n), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return f
}

const allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// stateIncumbent is an incumbent by hand that has offered a listener, and has heard PREPARED.
func stateIncumbent(t *testing.T, l *net.UnixListener) *rawPeer {
	t.Helper()
	r := acceptRaw(t, l)
	hear[*wire.Hello](r)
	r.token = newEventfd(t, 1)
	r.send(&wire.Welcome{
		Version: wire.Version, Features: []string{"state"}, Generation: 2, Name: "raw", PID: os.Getpid(), Heir: true, StateWithin: 1000,
	}, r.token)
	r.offer([]wire.Item{{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"}}, tcpListener(t))
	return r
}

// TestHostileState: an incumbent that sends other state than it may makes Ready fail, and leaves nothing behind.
func TestHostileState(t *testing.T) {
	good := newMemfd(t, "1", allSeals)
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	exact := func(name string, size int64) *wire.State { return &wire.State{Name: name, Size: size} }
	ahead := &wire.State{Name: "cell", Size: 1, Ahead: true}
	for _, tt := range []struct {
		name string
		do   func(r *rawPeer)
	}{
		{"no descriptor", func(r *rawPeer) { r.send(exact("cell", 1)) }},
		{"two descriptors", func(r *rawPeer) { r.send(exact("cell", 1), good, good) }},
		{"not sealed against writing", func(r *rawPeer) {
			r.send(exact("cell", 1), newMemfd(r.t, "1", allSeals&^unix.F_SEAL_WRITE))
		}},
		{"not sealed against other seals", func(r *rawPeer) {
			r.send(exact("cell", 1), newMemfd(r.t, "1", allSeals&^unix.F_SEAL_SEAL))
		}},
		{"not sealed against shrinking", func(r *rawPeer) {
			r.send(exact("cell", 1), newMemfd(r.t, "1", allSeals&^unix.F_SEAL_SHRINK))
		}},
		{"a pipe", func(r *rawPeer) { r.send(exact("cell", 1), pipe) }},
		{"shorter than announced", func(r *rawPeer) { r.send(exact("cell", 2), good) }},
		{"longer than announced", func(r *rawPeer) { r.send(exact("cell", 0), good) }},
		{"unknown section", func(r *rawPeer) { r.send(exact("nothing", 1), good) }},
		{"twice", func(r *rawPeer) {
			r.send(exact("cell", 1), good)
			r.send(exact("cell", 1), good)
		}},
		{"ahead, unasked", func(r *rawPeer) { r.send(&wire.State{Name: "gap", Size: 1, Ahead: true}, good) }},
		{"in the gap, unasked", func(r *rawPeer) { r.send(exact("ahead", 1), good) }},
		{"ahead in the gap", func(r *rawPeer) {
			r.send(exact("cell", 1), good)
			r.send(ahead, good)
		}},
		{"in the gap before all is ahead", func(r *rawPeer) {
			r.send(ahead, good)
			r.send(exact("cell", 1), good)
		}},
		{"ahead after all was", func(r *rawPeer) {
			r.send(ahead, good)
			r.send(&wire.Saved{Ahead: true})
			hear[*wire.Restored](r)
			r.send(&wire.State{Name: "ahead", Size: 1, Ahead: true}, good)
		}},
		{"nothing saved", func(r *rawPeer) { r.send(&wire.Saved{}) }},
		{"saved twice", func(r *rawPeer) {
			r.send(exact("cell", 1), good)
			r.send(&wire.Saved{})
			r.send(&wire.Saved{})
		}},
		{"COMMIT before all is saved", func(r *rawPeer) {
			r.send(exact("cell", 1), good)
			r.send(&wire.Commit{})
		}},
		{"RESTORED", func(r *rawPeer) { r.send(&wire.Restored{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			l := rawListener(t, path)
			failed := make(chan error, 1)
			var r *rawPeer
			within(t, "the handover", func() {
				joined := make(chan *handoff.Generation, 1)
				go func() {
					g, err := handoff.Join(t.Context(), config(t, path))
					if err != nil {
						t.Error(err)
					}
					joined <- g
				}()
				r = stateIncumbent(t, l)
				g := <-joined
				t.Cleanup(func() { shut(t, g) })
				listen(t, g, "tcp", "127.0.0.1:0")
				state(t, g, "cell", newCell("").both())
				state(t, g, "gap", newCell("").exact())
				c := newCell("")
				state(t, g, "ahead", handoff.Section{Ahead: c.write("ahead"), RestoreAhead: c.read("restore-ahead")})
				go func() { failed <- g.Ready(t.Context()) }()
			})
			want := []wire.Section{{Name: "cell", Ahead: true, Gap: true}, {Name: "gap", Gap: true}, {Name: "ahead", Ahead: true}}
			if p := hear[*wire.Prepared](r); len(p.Sections) != 3 || p.Sections[0] != want[0] || p.Sections[1] != want[1] || p.Sections[2] != want[2] {
				t.Errorf("sections are %+v, want %+v", p.Sections, want)
			}
			tt.do(r)
			wantErr(t, "Ready", result(t, "Ready", failed), handoff.ErrProtocol)
			if !r.takeToken() {
				t.Error("the successor owns")
			}
		})
	}
}

// stateSuccessor is a successor by hand that can restore a section, and has said PREPARED.
func stateSuccessor(t *testing.T, path string, sections ...wire.Section) *rawPeer {
	t.Helper()
	r := dialRaw(t, path)
	h := hello()
	h.Features = []string{"state"}
	r.send(h)
	m, raw, err := r.recv()
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := m.(*wire.Welcome); !ok || len(raw.FDs) != 1 || len(w.Features) != 1 || w.StateWithin == 0 {
		t.Fatalf("got %+v with %d descriptors", m, len(raw.FDs))
	}
	r.token, raw.FDs[0] = raw.FDs[0], nil
	raw.Close()
	r.takeAll()
	frames, err := wire.Receipts(r.receipts(), 0)
	if err == nil {
		frames, err = wire.AddSections(frames, sections)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		r.send(f)
	}
	return r
}

// section waits for STATE, and returns the frame and the descriptor.
func (r *rawPeer) section() (*wire.State, *os.File) {
	r.t.Helper()
	m, raw, err := r.recv()
	if err != nil {
		r.t.Fatal(err)
	}
	s, ok := m.(*wire.State)
	if !ok || len(raw.FDs) != 1 {
		r.t.Fatalf("got %+v with %d descriptors, want STATE with one", m, len(raw.FDs))
	}
	f := raw.FDs[0].File(s.Name)
	r.t.Cleanup(func() { _ = f.Close() })
	raw.Close()
	return s, f
}

// restored takes one section that is sent ahead.
func (r *rawPeer) restored() {
	r.t.Helper()
	r.section()
	hear[*wire.Saved](r)
	r.send(&wire.Restored{Ahead: true})
}

// TestHostileRestored: a successor that says other than it may costs nothing but the attempt.
func TestHostileRestored(t *testing.T) {
	both := wire.Section{Name: "cell", Ahead: true, Gap: true}
	for _, tt := range []struct {
		name  string
		block string // the callback that does not return
		do    func(t *testing.T, path string, was *cell) *rawPeer
		want  error
	}{
		{"RESTORED before all is saved", "ahead", func(t *testing.T, path string, was *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			for result(t, "ahead", was.entered) != "ahead" {
			}
			r.send(&wire.Restored{Ahead: true})
			return r
		}, handoff.ErrProtocol},
		{"the other RESTORED", "", func(t *testing.T, path string, _ *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			r.section()
			r.send(&wire.Restored{})
			return r
		}, handoff.ErrProtocol},
		{"OWNED", "", func(t *testing.T, path string, _ *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			r.section()
			r.send(&wire.Owned{})
			return r
		}, handoff.ErrProtocol},
		{"FAILED in the gap", "", func(t *testing.T, path string, _ *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			r.restored()
			r.section()
			r.send(&wire.Failed{Reason: "no"})
			return r
		}, handoff.ErrAborted},
		{"hanging up in the gap", "", func(t *testing.T, path string, _ *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			r.restored()
			r.section()
			_ = r.conn.Close()
			return nil
		}, handoff.ErrState},
		{"RESTORED in the gap before all is saved", "save", func(t *testing.T, path string, was *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			r.restored()
			for result(t, "save", was.entered) != "save" {
			}
			r.send(&wire.Restored{})
			return r
		}, handoff.ErrProtocol},
		{"OWNED in the gap", "", func(t *testing.T, path string, _ *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			r.restored()
			r.section()
			r.send(&wire.Owned{})
			return r
		}, handoff.ErrProtocol},
		{"silence in the gap", "", func(t *testing.T, path string, _ *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			r.restored()
			r.section()
			return r
		}, os.ErrDeadlineExceeded},
		{"silence", "", func(t *testing.T, path string, _ *cell) *rawPeer {
			r := stateSuccessor(t, path, both)
			r.section()
			return r
		}, os.ErrDeadlineExceeded},
		{"too many sections", "", func(t *testing.T, path string, _ *cell) *rawPeer {
			r := dialRaw(t, path)
			r.offered()
			for i := range 2 {
				r.send(&wire.Prepared{Batch: i, Sections: make([]wire.Section, wire.MaxSections)})
			}
			return r
		}, handoff.ErrProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			c := config(t, path)
			c.StateTimeout = 100 * time.Millisecond
			was := newCell("1")
			was.block = tt.block
			close(was.letGo)
			a, la := firstWith(t, c, was.both())
			r := tt.do(t, path, was)
			failedWith(t, a, tt.want)
			serves(t, la)
			if r == nil {
				return
			}
			r.hangsUp()
			if strings.Contains(tt.name, "gap") && r.takeToken() { // before, nothing hangs on it
				t.Error("two own")
			}
		})
	}
}

// TestStateSealed: nobody can change what a successor was sent.
func TestStateSealed(t *testing.T) {
	path := rendezvous(t)
	a, _ := firstWith(t, config(t, path), newCell("state").exact())
	r := stateSuccessor(t, path, wire.Section{Name: "cell", Gap: true})
	s, f := r.section()
	if s.Size != 5 || s.Ahead {
		t.Errorf("got %+v", s)
	}
	for what, err := range map[string]error{
		"write":    func() error { _, err := f.WriteAt([]byte("S"), 0); return err }(),
		"truncate": f.Truncate(1),
		"grow":     f.Truncate(100),
	} {
		wantErr(t, what, err, syscall.EPERM)
	}
	if _, err := unix.Mmap(int(f.Fd()), 0, 5, unix.PROT_WRITE, unix.MAP_SHARED); err != unix.EPERM {
		t.Errorf("mmap for writing: %v", err)
	}
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v: not close-on-exec", flags, err)
	}
	hear[*wire.Saved](r)
	r.send(&wire.Restored{})
	hear[*wire.Commit](r)
	if !r.takeToken() {
		t.Fatal("no token")
	}
	r.send(&wire.Owned{})
	r.send(&wire.Confirm{})
	superseded(t, a)
	r.send(&wire.Goodbye{})
}
