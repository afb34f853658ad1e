package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// maxAnswer bounds the body of an answer; those that are asked for are far smaller.
const maxAnswer = 64 << 10

// session is a client's connection, made when it is needed. It belongs to one worker.
type session struct {
	o    *Options
	conn net.Conn // nil: not connected
	br   *bufio.Reader

	dialed   time.Time
	answered int
	pid      int       // who answered last on this connection
	last     time.Time // when
}

// answer is what came back.
type answer struct {
	body  []byte
	pid   int
	close bool // the server will close the connection, and said so
}

// stepError says at which step a request failed.
type stepError struct {
	op  string
	err error
}

func (e *stepError) Error() string { return e.op + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// connect dials unless there is a connection.
func (s *session) connect(deadline time.Time) error {
	if s.conn != nil {
		return nil
	}
	// Not the context of the load: its end lets what was begun finish.
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	dialed := time.Now()
	c, err := s.o.Dialer.DialContext(ctx, s.o.Network, s.o.Address)
	if err != nil {
		return &stepError{"connect", err}
	}
	*s = session{o: s.o, conn: c, br: bufio.NewReader(c), dialed: dialed}
	return nil
}

// roundTrip sends what send writes and reads one answer, all of it before the deadline. Whatever error it returns, the
// connection is of no use any more.
func (s *session) roundTrip(deadline time.Time, method string, send func(io.Writer) error) (*answer, error) {
	if err := s.conn.SetDeadline(deadline); err != nil {
		return nil, &stepError{"send", err}
	}
	if err := send(s.conn); err != nil {
		// The server may have said why it would not listen to the end. Without an answer the write's error stands.
		if a, rerr := s.receive(method); rerr == nil {
			return a, nil
		} else if errors.Is(rerr, ErrStatus) {
			return nil, &stepError{"send", fmt.Errorf("%w (after %w)", rerr, err)}
		}
		return nil, &stepError{"send", err}
	}
	a, err := s.receive(method)
	if err != nil {
		return nil, &stepError{"receive", err}
	}
	return a, nil
}

// receive reads one answer.
func (s *session) receive(method string) (*answer, error) {
	resp, err := http.ReadResponse(s.br, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s: %.80q", ErrStatus, resp.Status, body)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrForeign, maxAnswer)
	}
	pid, _ := strconv.Atoi(resp.Header.Get("X-Segue-Pid")) // absent is 0
	if s.br.Buffered() > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the answer", ErrUnasked, s.br.Buffered())
	}
	return &answer{body: body, pid: pid, close: resp.Close}, nil
}

// note remembers that a request was answered rightly.
func (s *session) note(a *answer, now time.Time) {
	s.answered++
	s.pid = a.pid
	s.last = now
}

// idle watches the connection, on which nothing is sent meanwhile, until the given time or until ctx ends. It returns
// nil if the connection is then as before.
func (s *session) idle(ctx context.Context, until time.Time) error {
	if err := s.conn.SetReadDeadline(until); err != nil {
		return &stepError{"idle", err}
	}
	// The past deadline wakes the read; nothing else sets one meanwhile. If it comes late, the next request's own
	// deadline must not be overwritten by it: hence the wait below.
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // a closed connection needs no waking
	})
	_, err := s.br.Peek(1)
	if !stop() {
		<-woken
	}
	switch {
	case err == nil:
		b, _ := s.br.Peek(s.br.Buffered())
		return &stepError{"idle", fmt.Errorf("%w: %.80q", ErrUnasked, b)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		// bufio.Reader returns an error once and forgets it; the reader goes on being usable.
		return nil
	}
	return &stepError{"idle", err}
}

// failure describes err as a failure on this connection.
func (s *session) failure(k Kind, worker int, started time.Time, err error) Failure {
	f := Failure{Kind: k, Worker: worker, Op: "check", Err: err, Started: started, At: time.Now()}
	if step, ok := errors.AsType[*stepError](err); ok {
		f.Op, f.Err = step.op, step.err
	}
	if s.conn != nil {
		f.Dialed, f.Local = s.dialed, s.conn.LocalAddr().String()
		f.Answered, f.PID = s.answered, s.pid
	}
	return f
}

// close ends the connection, if there is one.
func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close() // everything that mattered was read
		*s = session{o: s.o}
	}
}
