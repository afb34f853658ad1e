package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/integration/decisions"
)

// event is one line that a role writes. Tests wait for events.
type event struct {
	PID    int
	At     int64  // time.Now().UnixNano()
	Ev     string // start listen join ready phase decided sent received fault log upgrade wait closed state stats exit
	Msg    string `json:",omitempty"` // what was sent, the log's message, ...
	Err    string `json:",omitempty"`
	Is     string `json:",omitempty"` // which sentinels Err is, by name
	Parent int    `json:",omitempty"`
	N      int    `json:",omitempty"`
	FDs    int    `json:",omitempty"`
	Gs     int    `json:",omitempty"`

	Decided *decisions.Decision `json:",omitempty"`
}

func (e event) String() string {
	s := fmt.Sprintf("%s %d %s %s", time.Unix(0, e.At).Format("05.000000"), e.PID, e.Ev, e.Msg)
	if e.Err != "" {
		s += fmt.Sprintf(" error=%q is=%s", e.Err, e.Is)
	}
	if e.Decided != nil {
		s += e.Decided.String()
	}
	if e.Parent != 0 {
		s += fmt.Sprintf(" parent=%d", e.Parent)
	}
	if e.N != 0 || e.FDs != 0 {
		s += fmt.Sprintf(" n=%d fds=%d gs=%d", e.N, e.FDs, e.Gs)
	}
	return s
}

// emitter writes events to a named pipe that the test reads. A successor opens it by its name, so that Upgrade can be
// tested with the command that it makes itself.
type emitter struct {
	mu sync.Mutex
	fd int
}

func newEmitter(fifo string) (*emitter, error) {
	fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", fifo, err)
	}
	e := &emitter{fd: fd}
	go e.lifeline()
	return e, nil
}

// lifeline ends this process when the test has ended that reads its events.
func (e *emitter) lifeline() {
	for {
		p := []unix.PollFd{{Fd: int32(e.fd)}}
		if n, err := unix.Poll(p, -1); err == nil && n > 0 && p[0].Revents&unix.POLLERR != 0 {
			os.Exit(65)
		}
	}
}

// emit writes one line in one write(2) of less than PIPE_BUF bytes, so that lines of several processes do not mix.
func (e *emitter) emit(ev event) {
	ev.PID, ev.At = self(), time.Now().UnixNano()
	const most = 1000 // of each text; JSON may make three of one
	ev.Msg, ev.Err = ev.Msg[:min(most, len(ev.Msg))], ev.Err[max(0, len(ev.Err)-most):]
	b, err := json.Marshal(ev)
	if err != nil || len(b) >= 4095 {
		b, _ = json.Marshal(event{PID: ev.PID, At: ev.At, Ev: ev.Ev, Err: "this event was too long"})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if _, err := unix.Write(e.fd, append(b, '\n')); err != unix.EINTR {
			return
		}
	}
}

// result emits ev with err, which may be nil.
func (e *emitter) result(name string, err error) {
	ev := event{Ev: name}
	if err != nil {
		ev.Err, ev.Is = err.Error(), kinds(err)
	}
	e.emit(ev)
}

// kinds names the sentinels that err is.
func kinds(err error) string {
	var is []string
	for _, k := range []struct {
		name string
		err  error
	}{
		{"busy", handoff.ErrBusy}, {"notowner", handoff.ErrNotOwner}, {"unauthorized", handoff.ErrUnauthorized},
		{"died", handoff.ErrPeerDied}, {"aborted", handoff.ErrAborted}, {"protocol", handoff.ErrProtocol},
		{"handedback", handoff.ErrHandedBack}, {"transport", handoff.ErrTransport}, {"changed", handoff.ErrChanged},
		{"section", handoff.ErrSection}, {"state", handoff.ErrState}, {"stale", handoff.ErrStale}, {"successordied", handoff.ErrSuccessorDied},
		{"unsupported", errors.ErrUnsupported},
		{"timeout", os.ErrDeadlineExceeded},
	} {
		if errors.Is(err, k.err) {
			is = append(is, k.name)
		}
	}
	return strings.Join(is, " ")
}

// logger makes events of what segue logs.
func (e *emitter) logger() *slog.Logger { return slog.New(eventHandler{e}) }

type eventHandler struct{ e *emitter }

// Enabled is true for debug, because of the decisions.
func (h eventHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelDebug }
func (h eventHandler) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h eventHandler) WithGroup(string) slog.Handler                { return h }

func (h eventHandler) Handle(_ context.Context, r slog.Record) error {
	if d, ok := decisions.Of(r); ok {
		h.e.emit(event{Ev: "decided", Decided: &d})
	}
	if r.Level < slog.LevelInfo {
		return nil
	}
	ev := event{Ev: "log", Msg: r.Message, N: int(r.Level)}
	r.Attrs(func(a slog.Attr) bool {
		ev.Err += fmt.Sprintf("%s=%v ", a.Key, a.Value)
		return true
	})
	h.e.emit(ev)
	return nil
}
