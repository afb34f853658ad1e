package handoff

import (
	"fmt"

	"github.com/segue-go/segue/handoff/internal/link"
)

// Transport is how descriptors come from the predecessor to the successor.
type Transport int

const (
	// TransportAuto takes them by pidfd_getfd where the kernel allows that, and by SCM_RIGHTS otherwise.
	TransportAuto Transport = iota
	// TransportSCMRights has the incumbent send them (unix(7)). It works between any two processes that may talk.
	TransportSCMRights
	// TransportPidfd has the successor take them (pidfd_getfd(2)), and fails with [ErrTransport] where it must not: across
	// users, from a process that is not dumpable, under seccomp, or where Yama forbids it to everybody.
	TransportPidfd
)

// String returns the transport's name.
func (t Transport) String() string {
	switch t {
	case TransportSCMRights:
		return "scm_rights"
	case TransportPidfd:
		return "pidfd"
	case TransportAuto:
		return "auto"
	default:
		return fmt.Sprintf("Transport(%d)", int(t))
	}
}

// ErrTransport means that the only [Transport] that Config allows does not work here. The error says why, and what helps.
var ErrTransport = link.ErrTransport

// check refuses a value that is none of the constants.
func (t Transport) check() error {
	switch t {
	case TransportAuto, TransportSCMRights, TransportPidfd:
		return nil
	default:
		return fmt.Errorf("Config.Transport is %v, which is not known; "+
			"use TransportAuto, TransportSCMRights or TransportPidfd", t)
	}
}
