package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// sameUnit reports whether a process belongs to the unit of this one. One that is gone belongs to none. If the kernel does not
// tell, the process is taken for one of ours.
func sameUnit(pid int) bool {
	if unix.Kill(pid, 0) == unix.ESRCH {
		return false
	}
	own, err1 := os.ReadFile("/proc/self/cgroup")
	other, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if errors.Is(err2, os.ErrNotExist) && unix.Kill(pid, 0) == unix.ESRCH {
		return false
	}
	return err1 != nil || err2 != nil || unitOf(string(own)) == unitOf(string(other))
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

// sendMainPidFD sends text with MAINPIDFD and a pidfd, which systemd takes from 257 on. Before, it would log that it did not expect one.
func (s *Service) sendMainPidFD(pid int, text string) bool {
	n, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	fd := listener.NewFD(n)
	defer fd.Close()
	return s.n.send(text+"\nMAINPIDFD=1", fd)
}
