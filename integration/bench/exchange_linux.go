package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// The floor of a handover: its messages without a meaning, over net.UnixConns of the same kind.

// messages are those of a handover from the first one to OWNED: their sizes, and who sends them.
var messages = []struct {
	name      string
	successor bool
	size      int
}{
	{"hello", true, 70},
	{"welcome", false, 100},
	{"offer", false, 400},
	{"taken", true, 30},
	{"prepared", true, 250},
	{"commit", false, 17},
	{"owned", true, 16},
}

// exchange sends and receives all messages.
func exchange(c net.Conn, successor bool, s *stamps) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	b := make([]byte, 512)
	for _, m := range messages {
		if m.successor == successor {
			s.set("send " + m.name)
			if _, err := c.Write(b[:m.size]); err != nil {
				return err
			}
			continue
		}
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		s.set("received " + m.name)
		if n != m.size {
			return fmt.Errorf("%s has %d bytes: %w", m.name, n, io.ErrUnexpectedEOF)
		}
	}
	return nil
}

// playExchange connects and exchanges, once at the start and once more at each command.
func playExchange(c *control, path string) error {
	for {
		var s stamps
		s.set("connect")
		conn, err := net.Dial("unixpacket", path)
		if err != nil {
			return err
		}
		err = exchange(conn, true, &s)
		s.set("done")
		_ = conn.Close()
		if err != nil {
			return err
		}
		if err := c.say(reply{Stamps: s.all()}); err != nil {
			return err
		}
		if _, err := c.next(); err != nil {
			return err
		}
	}
}

// exchanger answers playExchange.
type exchanger struct {
	l     net.Listener
	times chan map[string]int64 // of each exchange
	done  chan struct{}
}

func newExchanger(path string) (*exchanger, error) {
	l, err := net.Listen("unixpacket", path)
	if err != nil {
		return nil, err
	}
	e := &exchanger{l: l, times: make(chan map[string]int64, 1), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		defer close(e.times)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var s stamps
			err = exchange(c, false, &s)
			_ = c.Close()
			if err != nil {
				return
			}
			e.times <- s.all()
		}
	}()
	return e, nil
}

// last returns the times of the exchange that has just ended.
func (e *exchanger) last(ctx context.Context) (map[string]int64, error) {
	select {
	case t, ok := <-e.times:
		if !ok {
			return nil, io.ErrUnexpectedEOF
		}
		return t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (e *exchanger) close() {
	_ = e.l.Close()
	for range e.times { // the last one may not have been asked for
	}
	<-e.done
}
