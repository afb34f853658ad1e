package handoff

import (
	"errors"
	"os"
	"os/signal"
)

// upgradeWhenAsked owns the signals from Join to Close. What comes before Ready waits for it.
func (g *Generation) upgradeWhenAsked(signals chan os.Signal) {
	defer signal.Stop(signals)
	select {
	case <-g.started.c:
	case <-g.ctx.Done():
		return
	}
	for {
		by := "the predecessor"
		select {
		case <-g.ctx.Done():
			return
		case s := <-signals:
			by = s.String()
		case <-g.asked:
		}
		g.answerRequest(by)
	}
}

// answerRequest starts an upgrade as soon as no other is under way. If that one was successful, it is the successor's business
// to start another: its program may have been read before the request was made.
func (g *Generation) answerRequest(by string) {
	for {
		g.mu.Lock()
		phase, busy, news := g.phase, g.busyLocked(), g.news
		g.mu.Unlock()
		switch {
		case (phase == PhaseServing || phase == PhaseOffering) && !busy:
			g.log.Info("upgrade begins", "by", by)
			if err := g.Upgrade(g.ctx); !errors.Is(err, ErrBusy) { // it logs how it ends
				return
			}
		case phase == PhaseDraining:
			g.passRequestOn(by)
			return
		case phase == PhaseStopped:
			return
		}
		select {
		case <-news:
		case <-g.ctx.Done():
			return
		}
	}
}
