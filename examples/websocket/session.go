package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const (
	// maxMessage bounds a message. A position has at most one that is unfinished and a frame that is, and Give takes 32 KiB.
	maxMessage = 8 << 10
	// writeTimeout is for a client that does not read.
	writeTimeout = 10 * time.Second
)

// errInterrupted means that somebody has set a deadline for reading, and a session is between two reads.
var errInterrupted = errors.New("interrupted")

// session is one client. It belongs to one goroutine.
type session struct {
	conn net.Conn
	position
}

// position is where a session stands between two reads. It is what Give hands over with the connection. An answer is always
// written to its end, so there is none in it.
type position struct {
	Count   int       // messages so far: what shows that the session lives on
	In      []byte    // the part of a frame that has been read
	Op      ws.OpCode // of the message of which some fragments were read; 0 if there is none
	Message []byte    // these
}

// serve reads and answers messages. Unless the error is errInterrupted, the connection is closed.
func (s *session) serve() error {
	b := make([]byte, 4<<10)
	for {
		f, ok, err := s.frame()
		if ok && err == nil {
			if err = s.handle(f); err == nil {
				continue
			}
		}
		if bad, is := errors.AsType[closeError](err); is {
			s.end(bad.code, bad.reason)
			return err
		}
		if err == nil {
			var n int
			n, err = s.conn.Read(b)
			s.In = append(s.In, b[:n]...)
			if n > 0 {
				continue
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return errInterrupted
			}
		}
		_ = s.conn.Close()
		return err
	}
}

// closeError ends a session with a word to the client.
type closeError struct {
	code   ws.StatusCode
	reason string
}

func (e closeError) Error() string { return fmt.Sprintf("closed with %d: %s", e.code, e.reason) }

// frame takes a frame from what was read, if there is a whole one.
func (s *session) frame() (f ws.Frame, ok bool, err error) {
	r := bytes.NewReader(s.In)
	h, err := ws.ReadHeader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f, false, nil
	}
	if err == nil {
		state := ws.StateServerSide
		if s.Op != 0 {
			state = state.Set(ws.StateFragmented)
		}
		err = ws.CheckHeader(h, state)
	}
	if err != nil {
		return f, false, closeError{ws.StatusProtocolError, err.Error()}
	}
	if h.Length > maxMessage {
		return f, false, closeError{ws.StatusMessageTooBig, ""}
	}
	if int64(r.Len()) < h.Length {
		return f, false, nil
	}
	size := len(s.In) - r.Len() + int(h.Length)
	f = ws.UnmaskFrame(ws.Frame{Header: h, Payload: s.In[size-int(h.Length) : size]}) // a copy
	s.In = s.In[size:]
	return f, true, nil
}

// handle acts on a frame.
func (s *session) handle(f ws.Frame) error {
	switch f.Header.OpCode {
	case ws.OpPing:
		return s.write(ws.NewPongFrame(f.Payload))
	case ws.OpPong:
		return nil
	case ws.OpClose:
		return closeError{ws.StatusNormalClosure, ""}
	case ws.OpText, ws.OpBinary:
		s.Op = f.Header.OpCode
	}
	s.Message = append(s.Message, f.Payload...)
	if len(s.Message) > maxMessage {
		return closeError{ws.StatusMessageTooBig, ""}
	}
	if !f.Header.Fin {
		return nil
	}
	if s.Op == ws.OpText && !utf8.Valid(s.Message) {
		return closeError{ws.StatusInvalidFramePayloadData, ""}
	}
	s.Count++
	answer := fmt.Appendf(nil, "%d %d %s", s.Count, os.Getpid(), s.Message)
	op := s.Op
	s.Op, s.Message = 0, nil
	return s.write(ws.NewFrame(op, true, answer))
}

func (s *session) write(f ws.Frame) error {
	b, err := ws.CompileFrame(f)
	if err != nil {
		return err
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err = s.conn.Write(b)
	return err
}

// end closes the connection, and says why.
func (s *session) end(code ws.StatusCode, reason string) {
	_ = s.write(ws.NewCloseFrame(ws.NewCloseFrameBody(code, reason)))
	_ = s.conn.Close()
}
