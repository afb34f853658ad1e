package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// stat returns the state of a process, Z for one that nobody has waited for, its parent and its process group
// (proc_pid_stat(5)); zeros if it is unknown.
func stat(pid int) (state string, parent, group int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, 0
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // the name, in parentheses, may contain anything
	if len(f) < 3 {
		return "", 0, 0
	}
	parent, _ = strconv.Atoi(f[1])
	group, _ = strconv.Atoi(f[2])
	return f[0], parent, group
}

// members lists the descendants of this process that are of a process group, and have not ended.
func members(group int) (all []int) {
	for _, pid := range family(os.Getpid())[1:] {
		if state, _, g := stat(pid); g == group && state != "Z" && state != "X" {
			all = append(all, pid)
		}
	}
	return all
}

// lookForRests tells the machine which process groups have ended.
func (r *runner) lookForRests() {
	for _, p := range slices.Clone(r.m.procs) {
		if p.rest && len(members(p.pid)) == 0 {
			r.do(r.m.restEnded(p))
		}
	}
}

// parentOf returns the parent of a process, and 0 for one that is unknown.
func parentOf(pid int) int {
	_, parent, _ := stat(pid)
	return parent
}

// ancestors returns the parent of a process, the parent's, and so on, up to and without this process; nil if it is no
// descendant.
func ancestors(pid int) (all []int) {
	for p := parentOf(pid); p > 0; p = parentOf(p) {
		if p == os.Getpid() {
			return all
		}
		all = append(all, p)
	}
	return nil
}

func isChild(pid int) bool { return parentOf(pid) == os.Getpid() }

func isDescendant(pid int) bool { return isChild(pid) || len(ancestors(pid)) > 0 }

// childrenOf lists the processes that one has started, or that were reparented to it, the dead included.
func childrenOf(pid int) (all []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(s); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// family is a process and its descendants.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		for _, c := range childrenOf(all[i]) {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}
