package sockets

import (
	"net"
	"strings"

	"github.com/segue-go/segue/listener"
)

// tellBirth logs what the program asks for, and a socket of the predecessor does not have and cannot get any more: some things are
// set when a socket is made, or before it is bound (socket(2), ipv6(7)). Of Control nobody
// can know what it would do.
func (s *Set) tellBirth(o *Socket) {
	lc := o.lc
	if lc == nil {
		return // a file
	}
	s.tellControl(o)
	var usual net.ListenConfig
	multipath := lc.MultipathTCP() != usual.MultipathTCP()
	unspecified := strings.HasPrefix(o.addr.String(), "[::]:")
	if !multipath && !unspecified {
		return // the kernel need not be asked
	}
	i, err := listener.Describe(o.sock)
	if err != nil {
		return
	}
	differs := func(setting string, has bool) {
		s.Log.Warn("a socket is not what this program would bind; it stays as it is until the service is stopped and started",
			"name", o.item.Name, "setting", setting, "has", has)
	}
	// What is as usual need not be a wish: the socket may be from a time, or a kernel, in which something else was usual.
	if has := i.Protocol == protocolMPTCP; i.Network == "tcp" && multipath && lc.MultipathTCP() != has {
		differs("multipath TCP", has)
	}
	// Package net makes a socket for both families where the address is unspecified and the network leaves that open.
	if only := strings.HasSuffix(o.item.Network, "6"); unspecified && only != i.V6Only {
		differs("IPV6_V6ONLY", i.V6Only)
	}
}

// tellControl says once that Control is not called for what somebody else has bound.
func (s *Set) tellControl(o *Socket) {
	if o.lc == nil || o.lc.Control == nil {
		return
	}
	s.mu.Lock()
	told := s.toldControl
	s.toldControl = true
	s.mu.Unlock()
	if !told {
		s.Log.Info("ListenConfig.Control is not called for a socket that exists already, whose options stay", "name", o.item.Name)
	}
}

// protocolMPTCP is IPPROTO_MPTCP in include/uapi/linux/in.h.
const protocolMPTCP = 262
