package handoff

// What two sides of a handoff agree on, as HELLO and WELCOME name it.
const (
	featurePull    = "pull"       // the successor takes descriptors by pidfd_getfd(2)
	featureToken   = "pull-token" // and also the token, if that cannot be sent
	featureConns   = "conns"      // live connections move
	featureState   = "state"      // sections of state move
	featureUpgrade = "upgrade"    // a request for an upgrade that comes too late is passed on
	featureReturn  = "return"     // live connections come back with the sockets; means nothing without conns
)

// features are what this side can do.
func (c Config) features() []string {
	f := []string{featureConns, featureState, featureReturn, featureUpgrade}
	if c.Transport != TransportSCMRights {
		f = append(f, featurePull, featureToken)
	}
	return f
}
