package driver

import (
	"slices"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// busyLocked reports whether an upgrade has to wait for another one. It need not if the successor of that one owes an answer:
// then it may take its place.
func (d *Driver) busyLocked() bool { return d.attempt != nil && !d.attempt.yields() }

// passRequestOn has the successor start an upgrade.
func (d *Driver) passRequestOn(by string) {
	d.mu.Lock()
	a, successor := d.attempt, 0
	known := a != nil && slices.Contains(a.features, featureUpgrade)
	if a != nil {
		successor = a.pid()
		a.upgradePassedOn = known // before it is said: the sockets may be back at once
	}
	d.mu.Unlock()
	switch {
	case !known:
		d.log.Warn("an upgrade was asked for too late, and the successor cannot be told; send the signal to that process", "by", by, "successor", successor)
	case a.link.Send(&wire.Upgrade{}) != nil:
		d.log.Warn("an upgrade was asked for too late, and the successor does not hear it", "by", by, "successor", successor)
	default:
		d.log.Info("an upgrade was asked for too late; passed on", "by", by, "successor", successor)
	}
}

// askForUpgrade keeps one request of the predecessor: a second one would be answered by the same upgrade.
func (d *Driver) askForUpgrade() {
	select {
	case d.upgradeAsked <- struct{}{}:
	default:
	}
}
