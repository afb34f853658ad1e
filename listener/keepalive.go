package listener

import "net"

// keepAlive is what is to be done to a connection that a rebuilt listener accepted, whose own ListenConfig is zero and
// has already enabled keep-alive with the default times (net/tcpsock.go: newTCPConn).
type keepAlive struct {
	disable bool
	config  net.KeepAliveConfig // if Enable
}

// keepAlive translates as package net does: the configuration, if it enables, goes before the duration.
func (o Options) keepAlive() keepAlive {
	switch {
	case o.KeepAliveConfig.Enable:
		return keepAlive{config: o.KeepAliveConfig}
	case o.KeepAlive < 0:
		return keepAlive{disable: true}
	case o.KeepAlive == 0:
		return keepAlive{}
	default:
		return keepAlive{config: net.KeepAliveConfig{Enable: true, Idle: o.KeepAlive}}
	}
}

// apply ignores errors, like package net: a peer that has already reset the connection is for the reader to find.
func (k keepAlive) apply(c net.Conn) {
	tc, ok := c.(*net.TCPConn)
	switch {
	case !ok:
	case k.disable:
		_ = tc.SetKeepAlive(false)
	case k.config.Enable:
		_ = tc.SetKeepAliveConfig(k.config)
	}
}
