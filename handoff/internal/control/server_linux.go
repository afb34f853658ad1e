package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/listener"
)

const (
	// maxCallers is how many are attended to at once. Others wait in the queue, and who has said nothing makes room for them.
	maxCallers = 16
	// Spacing is the least time between two callers, so that many of them cost a handoff next to nothing.
	Spacing = 2 * time.Millisecond
	// hearWithin is how long a caller has to say what it wants, and then to read each answer.
	hearWithin = 5 * time.Second
	// lastWord is how long it has for the last one when the generation ends.
	lastWord = 500 * time.Millisecond
	// acceptPause is how long to wait after an accept(2) that failed.
	acceptPause = 100 * time.Millisecond
)

// Server answers at the control socket of one generation. The zero value, with its fields set, is one that is not open.
type Server struct {
	Path string // of the socket
	Log  *slog.Logger
	// Context is that of answers. Who is answered when it ends gets a last word.
	Context context.Context
	// Task runs f in a goroutine of its own, that the generation waits for.
	Task func(f func())
	// Authorize decides who may ask: the one that has sent the request on conn. It has no pidfd.
	Authorize func(p *peer.Peer, conn *net.UnixConn) error
	// Answer carries out what p asks. say sends one answer; its error is that nobody hears it any more.
	Answer func(ctx context.Context, p *peer.Peer, r Request, say func(Answer) error)

	accepting sync.Mutex // held while a descriptor may be opened

	mu   sync.Mutex
	open *socket
	left bool // the path, when it was closed last
}

// Alone calls f while no caller is accepted, which would take a descriptor.
func (s *Server) Alone(f func()) {
	s.accepting.Lock()
	defer s.accepting.Unlock()
	f()
}

// serve accepts until ctx ends.
func (s *Server) serve(ctx context.Context, o *socket) {
	raw, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	for ctx.Err() == nil {
		conn, err := s.accept(raw)
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				_ = conn.Close()
			}
			return
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			s.Log.Debug("accept at the control socket", "error", err) // out of descriptors: those who ask hear nothing
			pause(ctx, acceptPause)
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(hearWithin))
		c, entered := o.callers.enter(ctx, conn)
		if !entered {
			_ = conn.Close()
			return
		}
		s.Task(func() {
			defer o.callers.leave(c)
			defer func() { _ = conn.Close() }()
			s.attend(c)
		})
		pause(ctx, Spacing)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// accept waits for a caller, and then opens it while nobody needs that descriptor more.
func (s *Server) accept(raw interface {
	Read(func(uintptr) bool) error
}) (conn *net.UnixConn, err error) {
	var inner error
	err = raw.Read(func(n uintptr) bool {
		s.accepting.Lock()
		defer s.accepting.Unlock()
		var c int
		c, _, inner = unix.Accept4(int(n), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if errors.Is(inner, unix.EAGAIN) {
			return false // it is waited for
		}
		if inner != nil {
			return true
		}
		conn, inner = sys.UnixConn(listener.NewFD(c))
		return true
	})
	if err == nil {
		err = inner
	}
	return conn, err
}

// attend hears one caller.
func (s *Server) attend(c *caller) {
	b, p, err := receive(c.conn)
	if c.spoke(); err != nil {
		return // it has hung up, said nothing, or had to make room
	}
	say := func(a Answer) error {
		m, err := encode(a)
		if err != nil {
			return err
		}
		_ = c.conn.SetWriteDeadline(time.Now().Add(hearWithin))
		if s.Context.Err() != nil {
			_ = c.conn.SetWriteDeadline(time.Now().Add(lastWord))
		}
		_, err = c.conn.Write(m)
		return err
	}
	if err := s.Authorize(p, c.conn); err != nil {
		s.Log.Warn("a caller at the control socket was turned away", "error", err)
		_ = say(Answer{Event: Refused, Code: CodeUnauthorized, Reason: err.Error()})
		return
	}
	var r Request
	switch err := json.Unmarshal(b, &r); {
	case err != nil:
		_ = say(Answer{Event: Refused, Code: CodeMalformed, Reason: "no request: " + err.Error()})
	case r.Version != Version:
		_ = say(Answer{Event: Refused, Code: CodeVersion, Reason: "this process knows version 1 of the requests"})
	default:
		s.Answer(s.Context, p, r, say)
	}
}

// errNoCred is that a request came without the credentials of its sender.
var errNoCred = errors.New("no credentials came with the request")

// receive reads the request, and who has sent it (SCM_CREDENTIALS).
func receive(conn *net.UnixConn) ([]byte, *peer.Peer, error) {
	b := make([]byte, MaxMessage+1)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)) // no room for descriptors, which the kernel closes then
	n, oobn, _, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 || n > MaxMessage {
		return nil, nil, errors.New("no request, or one that is too long")
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	for _, m := range messages {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			return b[:n], &peer.Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
		}
	}
	return nil, nil, errNoCred
}

// callers are those that are attended to.
type callers struct {
	slots chan struct{}

	mu     sync.Mutex
	silent []*caller
}

type caller struct {
	all  *callers
	conn *net.UnixConn
}

// enter waits for a place. If there is none, the caller that has been silent for the longest time has to go. It reports false if
// ctx ends.
func (c *callers) enter(ctx context.Context, conn *net.UnixConn) (who *caller, entered bool) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.mu.Lock()
		if len(c.silent) > 0 {
			_ = c.silent[0].conn.SetDeadline(time.Unix(1, 0))
			c.silent = slices.Delete(c.silent, 0, 1)
		}
		c.mu.Unlock()
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, false
		}
	}
	who = &caller{all: c, conn: conn}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = append(c.silent, who)
	return who, true
}

// spoke keeps the caller from having to make room.
func (w *caller) spoke() {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.all.silent = slices.DeleteFunc(w.all.silent, func(other *caller) bool { return other == w })
}

func (c *callers) leave(w *caller) {
	w.spoke()
	<-c.slots
}
