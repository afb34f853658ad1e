package driver

import (
	"errors"
	"os"
	"os/signal"

	"github.com/segue-go/segue/handoff/internal/succession"
)

// upgradeWhenAsked owns the signals from Join to Close. What comes before Ready waits for it.
func (d *Driver) upgradeWhenAsked(signals chan os.Signal) {
	defer signal.Stop(signals)
	select {
	case <-d.started.c:
	case <-d.ctx.Done():
		return
	}
	for {
		by := "the predecessor"
		select {
		case <-d.ctx.Done():
			return
		case s := <-signals:
			by = s.String()
		case <-d.upgradeAsked:
		}
		d.answerRequest(by)
	}
}

// answerRequest starts an upgrade as soon as no other is under way. If that one was successful, it is the successor's business
// to start another: its program may have been read before the request was made.
func (d *Driver) answerRequest(by string) {
	for {
		d.mu.Lock()
		phase, busy, news := d.phase, d.busyLocked(), d.news
		d.mu.Unlock()
		switch succession.OnRequest(phase, busy) {
		case succession.RequestServed:
			d.log.Info("upgrade begins", "by", by)
			if err := d.Upgrade(d.ctx); !errors.Is(err, ErrBusy) { // it logs how it ends
				return
			}
		case succession.RequestPassedOn:
			d.passRequestOn(by)
			return
		case succession.RequestVoid:
			return
		case succession.RequestWaits:
		}
		select {
		case <-news:
		case <-d.ctx.Done():
			return
		}
	}
}
