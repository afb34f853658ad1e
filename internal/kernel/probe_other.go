//go:build !linux

package kernel

// Nothing of this is on other systems, where no successor can take over.
func none() (bool, error) { return false, nil }

var pidfdOpen, pidfdGetfd, fdCount, noExecSeal, passPidFD, hangUp, getInfo, infoExit, reaped = none, none, none, none, none, none, none, none, none
