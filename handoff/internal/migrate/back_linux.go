package migrate

import (
	"context"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// handback is what is known when the sockets go back to the predecessor, or have. The zero value: they do not.
type handback struct {
	until    time.Time       // for how long to wait for what the predecessor says
	gone     <-chan struct{} // closed when the predecessor is
	answered chan struct{}   // closed when it has said what it takes; nil: they do not go back
}

// HandsBack says that the sockets go back to the predecessor, which has this long to say what it takes of their connections.
// It passes none on any more.
func (c *Conns) HandsBack(within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.back = handback{until: time.Now().Add(within), gone: c.predecessor, answered: make(chan struct{})}
	c.predecessor = nil
}

// AwaitReturn waits until the predecessor, which has the sockets again, has said what it takes of their connections, or that
// it takes none. Without HandsBack there is nothing to wait for.
func (c *Conns) AwaitReturn(ctx context.Context) {
	c.mu.Lock()
	b := c.back
	c.mu.Unlock()
	if b.answered == nil {
		return
	}
	t := time.NewTimer(time.Until(b.until))
	defer t.Stop()
	select {
	case <-b.answered:
	case <-b.gone:
	case <-t.C:
	case <-ctx.Done():
	}
}

// Return moves connections to the predecessor at the other end of l, which has the sockets again and has said m, until the
// link ends. socket is that of Depart. HandsBack was called before.
func (c *Conns) Return(l *link.Link, m *wire.Confirm, socket func(item int) (any, bool)) {
	d := c.Depart(l, m, socket)
	c.mu.Lock()
	answered := c.back.answered
	c.mu.Unlock()
	close(answered)
	d.attend(c.cfg.Context, l)
	d.End(c.cfg.Context.Err() == nil)
}

// returner is a successor that has handed the sockets back and whose connections return.
type returner struct{ gone chan struct{} } // closed when its link is

// TakeBack takes connections by in until the other process has no more, or ends, and closes the link then. It does not wait
// for that. Until then the process is like a predecessor that drains.
func (c *Conns) TakeBack(in *Inflow) {
	r := &returner{gone: make(chan struct{})}
	c.addReturner(r)
	c.cfg.Task(func() {
		n, err := in.attend(c.cfg.Context)
		if c.cfg.Context.Err() == nil {
			c.Log.Info("connections returned", "returned", n, "successor", in.link.Peer.PID, "end", endText(err))
		}
		in.link.Close()
		c.removeReturner(r)
		close(r.gone)
	})
}

func endText(err error) string {
	if err == nil {
		return "all have"
	}
	return err.Error()
}
