//go:build !linux

package handoff

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
)

// chain is empty where a process cannot hand its sockets over: each generation is the first, and the last.
type chain struct{}

func (g *Generation) join(context.Context) error {
	if g.cfg.Path != "" {
		g.log.Warn("no successor can take over on this system; the path has no effect", "path", g.cfg.Path, "system", runtime.GOOS)
	}
	return nil
}

// becomeInit is for Linux.
func becomeInit(Config) error { return errors.ErrUnsupported }

// own asks the table as elsewhere; of its actions, only what follows has a meaning here.
func (g *Generation) own(ctx context.Context) error {
	if err := g.sections.Fresh(ctx, func(*state.Section) bool { return false }); err != nil {
		return err
	}
	g.mu.Lock()
	_, tell := g.asSuccessorLocked(succession.Ready)
	opened := succession.Opened
	err := g.openLocked()
	if err != nil {
		opened = succession.OpenFailed
	}
	_, also := g.asSuccessorLocked(opened)
	g.mu.Unlock()
	tell()
	also()
	if err != nil {
		return err
	}
	g.started.happen()
	g.writePIDFiles()
	g.settleSources()
	g.log.Info("serving")
	return nil
}

func (g *Generation) upgradeTo(ctx context.Context, _ func(context.Context, *exec.Cmd, []Lent) error) error {
	return g.upgrade(ctx)
}

func (g *Generation) upgrade(context.Context) error {
	return fmt.Errorf("sockets are handed over on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// withLock calls f: without a rendezvous there is nobody to agree with.
func (g *Generation) withLock(_ context.Context, f func() error) error { return f() }

func (g *Generation) maybeUnreachable(err error) error { return err }

func (g *Generation) peersLocked() (predecessor, successor int) { return 0, 0 }
func (g *Generation) busyLocked() bool                          { return false }
func (g *Generation) passRequestOn(string)                      {}
func (g *Generation) flush(time.Time, time.Duration)            {}
func (g *Generation) leave()                                    {}
func (g *Generation) bye() error                                { return nil }
func (g *Generation) letGo(bool)                                { g.conns.Close() }
func (g *Generation) sendDrop(int)                              {}
func (g *Generation) handBack(error) bool                       { return false }

// standing is not asked where connections cannot move.
func (g *Generation) standing() (migrate.Standing, <-chan struct{}) { return migrate.Over, nil }
