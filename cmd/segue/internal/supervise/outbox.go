package supervise

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// outbox writes messages in a goroutine of its own. The loop that makes them has signals to pass on and processes to start, so
// it must not wait until somebody reads standard error or NOTIFY_SOCKET. If the queue is full, a message is lost, and counted.
type outbox struct {
	queue      chan []byte
	stop, done chan struct{}
	lost       atomic.Int64
}

// outboxSize is in messages: more than are said in one go.
const outboxSize = 256

// newOutbox has write called with each message, and how many were lost before it. write returns how many are lost now.
func newOutbox(write func(b []byte, lost int64) int64) *outbox {
	o := &outbox{queue: make(chan []byte, outboxSize), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		for {
			select {
			case b := <-o.queue:
				o.lost.Add(write(b, o.lost.Swap(0)))
				continue
			default:
			}
			select {
			case b := <-o.queue:
				o.lost.Add(write(b, o.lost.Swap(0)))
			case <-o.stop:
				if len(o.queue) == 0 {
					return
				}
			}
		}
	}()
	return o
}

func (o *outbox) Write(b []byte) (int, error) {
	select {
	case o.queue <- bytes.Clone(b):
	default:
		o.lost.Add(1)
	}
	return len(b), nil
}

// close waits until all is written, but not longer than that. A call of write that hangs is left: the process ends.
func (o *outbox) close(within time.Duration) {
	close(o.stop)
	select {
	case <-o.done:
	case <-time.After(within):
	}
}

// Output is for the log of Run: writing to it never blocks.
type Output struct{ box *outbox }

// NewOutput returns an Output that writes to w. The caller closes it when Run has returned.
func NewOutput(w io.Writer) *Output {
	return &Output{newOutbox(func(b []byte, lost int64) int64 {
		if lost > 0 {
			if _, err := fmt.Fprintf(w, "level=WARN msg=\"lines of this log are lost, since nobody has read it\" segue=run lines=%d\n", lost); err != nil {
				return lost + 1
			}
		}
		if _, err := w.Write(b); err != nil {
			return 1
		}
		return 0
	})}
}

func (o *Output) Write(b []byte) (int, error) { return o.box.Write(b) }

// Close waits a second at most for what is not written.
func (o *Output) Close() { o.box.close(time.Second) }
