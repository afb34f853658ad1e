package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// whereIs says where a process is. One without a number here is elsewhere. If the kernel does not tell, the process is taken
// for one of ours.
func whereIs(pid int) place {
	if pid <= 0 {
		return elsewhere
	}
	if unix.Kill(pid, 0) == unix.ESRCH {
		return nowhere
	}
	own, err1 := os.ReadFile("/proc/self/cgroup")
	other, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	switch {
	case errors.Is(err2, os.ErrNotExist) && unix.Kill(pid, 0) == unix.ESRCH:
		return nowhere
	case err1 != nil || err2 != nil || unitOf(string(own)) == unitOf(string(other)):
		return inUnit
	default:
		return elsewhere
	}
}

// unitOf returns the control group of the unit, of which a process may be in one below: cgroups(7), "0::/system.slice/app.service".
func unitOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		parts := strings.Split(path, "/")
		for i := len(parts) - 1; i >= 0; i-- {
			if strings.HasSuffix(parts[i], ".service") || strings.HasSuffix(parts[i], ".scope") {
				return strings.Join(parts[:i+1], "/")
			}
		}
		return path
	}
	return ""
}
