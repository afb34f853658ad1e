package handoff

import (
	"net"
	"strings"

	"github.com/segue-go/segue/listener"
)

// tellBirth logs what the program asks for, and a socket of the predecessor does not have and cannot get any more: some things are
// set when a socket is made, or before it is bound (socket(2), ipv6(7)). Of Control nobody
// can know what it would do.
func (g *Generation) tellBirth(r *resource) {
	lc := r.lc
	if lc == nil {
		return // a file
	}
	g.tellControl(r)
	i, err := listener.Describe(r.sock)
	if err != nil {
		return
	}
	differs := func(setting string, has bool) {
		g.log.Warn("a socket is not what this program would bind; it stays as it is until the service is stopped and started",
			"name", r.item.Name, "setting", setting, "has", has)
	}
	var usual net.ListenConfig
	// What is as usual need not be a wish: the socket may be from a time, or a kernel, in which something else was usual.
	if has := i.Protocol == protocolMPTCP; i.Network == "tcp" && lc.MultipathTCP() != usual.MultipathTCP() && lc.MultipathTCP() != has {
		differs("multipath TCP", has)
	}
	// Package net makes a socket for both families where the address is unspecified and the network leaves that open.
	if only := strings.HasSuffix(r.item.Network, "6"); strings.HasPrefix(i.Address, "[::]:") && only != i.V6Only {
		differs("IPV6_V6ONLY", i.V6Only)
	}
}

// tellControl says once that Control is not called for what somebody else has bound.
func (g *Generation) tellControl(r *resource) {
	if r.lc != nil && r.lc.Control != nil && g.toldControl.CompareAndSwap(false, true) {
		g.log.Info("ListenConfig.Control is not called for a socket that exists already, whose options stay", "name", r.item.Name)
	}
}

// protocolMPTCP is IPPROTO_MPTCP in include/uapi/linux/in.h.
const protocolMPTCP = 262
