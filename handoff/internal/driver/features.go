package driver

import "github.com/segue-go/segue/handoff/internal/transport"

// What two sides of a handoff agree on, as HELLO and WELCOME name it; package transport has two more.
const (
	featureConns    = "conns"    // live connections move
	featureState    = "state"    // sections of state move
	featureUpgrade  = "upgrade"  // a request for an upgrade that comes too late is passed on
	featureTimeline = "timeline" // records of handoffs travel
	featureReturn   = "return"   // live connections come back with the sockets; means nothing without conns
	featureRetire   = "retire"   // a generation that drains is asked to end that
	featureDryRun   = "dry-run"  // the incumbent ends the handoff when it has compared the receipts, if HELLO says so
)

// features are what this side can do.
func (d *Driver) features() []string {
	f := []string{featureConns, featureState, featureReturn, featureUpgrade, featureDryRun, featureTimeline, featureRetire}
	if d.proxies {
		f = nil // what moves would end here
	}
	if !d.cfg.SendOnly {
		f = append(f, transport.FeaturePull, transport.FeatureToken)
	}
	return f
}
