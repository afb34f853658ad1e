package driver

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/chronicle"
)

// timeNS is the inode of this process's time namespace; 0: the kernel has none (before Linux 5.6), or /proc is not there. A process
// does not change its own (time_namespaces(7)).
var timeNS = sync.OnceValue(func() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/time", &st) != nil {
		return 0
	}
	return st.Ino
})

// now reads the clocks.
func now() chronicle.Clock {
	var mono unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) // it cannot fail
	return chronicle.Clock{Mono: mono.Nano(), Wall: time.Now().UnixNano(), NS: timeNS()}
}

func (d *Driver) programName() string { return d.origin.Name() }
