package handoff

import (
	"context"

	"github.com/segue-go/segue/handoff/internal/driver"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/listener"
)

// Source has sockets for a generation that has no predecessor, or more sockets than its predecessor: those of a
// supervisor, or of a process that knows nothing of segue. [Config].Sources are asked in order. The methods are called by
// several goroutines at once if the program listens in several, and Phase and Settled at any time.
//
// A Source that embeds a [BaseSource] has only to implement what it cares for, at least Open.
type Source interface {
	// Open gives the caller a descriptor for what the program asks [Generation.ListenAs] or ListenPacketAs for, or nil if
	// the source has none (more). It is called once for each socket that did not come from the predecessor, before it
	// would be bound afresh; for a [Generation.File] too, whose network is "". An error fails the Listen.
	Open(ctx context.Context, name, network, address string) (*listener.FD, error)

	// UnixPath returns the file that the bind of a Unix socket has made which Open gave; it is called before anything else is
	// done with fd, which stays the generation's. The file is removed by the last generation that stops for good. If nil is
	// returned, the file is left alone.
	UnixPath(fd *listener.FD) *listener.UnixPath

	// Return is called with a descriptor that Open gave, if the Listen fails all the same. The Source owns it again, and closes it
	// if it has no use for it.
	Return(fd *listener.FD)

	// Phase is told of each change of phase, before anything else happens in the new one. What it takes delays the generation:
	// clients wait during a switch. It must not call the Generation's methods.
	Phase(from, to Phase)

	// Settled says that what was given cannot go back any more: as long as a predecessor can be revived, which does not have it,
	// whoever had it before must be able to go on. It is called at most once, when the generation owns the sockets: at once if
	// the generation has no predecessor, and otherwise when that one has given up its guard, or is gone. It is not called if
	// the generation hands back, or stops before. What it takes delays the generation, too.
	Settled()
}

// BaseSource has the methods that a [Source] need not care for; embed it. The zero value is ready for use.
type BaseSource struct{}

// UnixPath returns nil: no file is removed.
func (BaseSource) UnixPath(*listener.FD) *listener.UnixPath { return nil }

// Return closes fd.
func (BaseSource) Return(fd *listener.FD) { _ = fd.Close() }

// Phase does nothing.
func (BaseSource) Phase(from, to Phase) {}

// Settled does nothing.
func (BaseSource) Settled() {}

// tellPhase tells the sources that the phase has changed.
func (g *Generation) tellPhase(from, to driver.Phase) {
	for _, s := range g.cfg.Sources {
		s.Phase(Phase(from.String()), Phase(to.String()))
	}
}

// tellSettled tells the sources that nothing goes back to a predecessor any more.
func (g *Generation) tellSettled() {
	for _, s := range g.cfg.Sources {
		s.Settled()
	}
}

// observe has f called for each Source that follows this generation more closely.
func (g *Generation) observe(f func(hook.Observer)) {
	for _, s := range g.cfg.Sources {
		if o, ok := s.(hook.Observer); ok {
			f(o)
		}
	}
}

func (g *Generation) tellOpened(o *sockets.Socket) {
	if c := o.Pausable(); c != nil {
		g.observe(func(h hook.Observer) { h.Opened(hook.Socket{Name: o.Name(), Conn: c}) })
	}
}

func (g *Generation) tellClosed(o *sockets.Socket) {
	if c := o.Pausable(); c != nil {
		g.observe(func(h hook.Observer) { h.Closed(hook.Socket{Name: o.Name(), Conn: c}) })
	}
}

func (g *Generation) keeps(o *sockets.Socket) (kept bool) {
	if c := o.Pausable(); c != nil {
		g.observe(func(h hook.Observer) { kept = h.Keeps(hook.Socket{Name: o.Name(), Conn: c}) || kept })
	}
	return kept
}

func (g *Generation) tellReleased(successor driver.Peer, foreign bool) {
	g.observe(func(h hook.Observer) { h.Released(hook.Successor{PID: successor.PID, Foreign: foreign}) })
}

func (g *Generation) tellFailed(err error) {
	g.observe(func(h hook.Observer) { h.Failed(g.errorf("upgrade", err)) })
}

// rescued is a Source with what Config.Rescue has taken.
type rescued struct{ Source }

// Close has the Source close it.
func (r rescued) Close() { r.Phase(PhaseStarting, PhaseStopped) }

// use makes what a rescue brought a source of this generation, which is the first of its chain. From here on it is told of
// phases, so that it closes what it has if this fails. Beside a predecessor, which has it as well, there would be two owners.
func (g *Generation) use(taken driver.Rescued) {
	if r, ok := taken.(rescued); ok {
		g.cfg.Sources = append([]Source{r.Source}, g.cfg.Sources...)
	}
}
