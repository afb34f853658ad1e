package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// stat is a part of /proc/PID/stat, proc_pid_stat(5).
type stat struct {
	state  byte
	parent int
	kernel bool // a kernel thread, PF_KTHREAD in include/linux/sched.h
	ending bool // it is about to be a zombie, PF_EXITING
}

// over reports whether a process has ended, or is about to: its descriptors are closed, or will be in a moment. So it is
// with a process whose main thread has ended while others go on.
func (s stat) over() bool { return s.ending || s.state == 'Z' || s.state == 'X' || s.state == 'x' }

var errStat = errors.New("unknown format of /proc/PID/stat")

func readStat(path string) (stat, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

func parseStat(b []byte) (stat, error) {
	// The name is in parentheses, and may have some itself.
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 7 || len(f[0]) != 1 {
		return stat{}, fmt.Errorf("%w: %q", errStat, b)
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return stat{}, fmt.Errorf("%w: %w", errStat, err)
	}
	flags, err := strconv.ParseUint(f[6], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("%w: %w", errStat, err)
	}
	const exiting, kthread = 0x00000004, 0x00200000
	return stat{state: f[0][0], parent: parent, kernel: flags&kthread != 0, ending: flags&exiting != 0}, nil
}

func procDir(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

func statOf(pid int) (stat, error) { return readStat(filepath.Join(procDir(pid), "stat")) }

// numbers returns the names in a directory of /proc that are numbers, in their order.
func numbers(dir string) ([]int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	ns := make([]int, 0, len(names))
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	return ns, nil
}

// ended says that a process has ended, or is about to.
func ended(pid int) error {
	st, err := statOf(pid)
	if gone(err) || err == nil && st.over() {
		return fmt.Errorf("it is ending, and its descriptors are closed: %w", ErrGone)
	}
	return nil
}

// noRoom reports whether an error says nothing about the process that was looked at, but that this one has too many
// descriptors open, or the system.
func noRoom(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// descendants returns the processes below pid, parents before their children. A process whose parent has ended belongs to
// init or a subreaper, and is not found.
func descendants(ctx context.Context, pid int) ([]int, error) {
	all, err := numbers("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, n := range all {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		st, err := statOf(n)
		switch {
		case err == nil:
			children[st.parent] = append(children[st.parent], n)
		case noRoom(err):
			return nil, err
		} // else it is just gone, or hidden
	}
	return below(pid, children), nil
}

// below returns all that is reached from pid, by levels. The table was not read at one instant: when numbers are used
// again meanwhile, it may have a circle.
func below(pid int, children map[int][]int) []int {
	var found []int
	visited := map[int]bool{pid: true}
	for level := []int{pid}; len(level) > 0; {
		var next []int
		for _, parent := range level {
			for _, n := range children[parent] {
				if !visited[n] {
					visited[n] = true
					next = append(next, n)
				}
			}
		}
		found = append(found, next...)
		level = next
	}
	return found
}

// seen is what was seen of one process.
type seen struct {
	pid     int
	command string
	dir     string // in which it is; "" if that is not known
	netNS   uint64
	sockets map[uint64][]int // descriptor numbers by inode
}

// lookAt reads what a process has open. Who calls it makes sure, afterwards, that the number was not another's meanwhile.
func lookAt(pid int) (*seen, error) {
	s := &seen{pid: pid, sockets: map[uint64][]int{}}
	dir := procDir(pid)
	ns, err := numbers(filepath.Join(dir, "fd"))
	if err != nil {
		return nil, err
	}
	if len(ns) == 0 {
		if err := ended(pid); err != nil {
			return nil, err
		}
	}
	for _, n := range ns {
		link, err := os.Readlink(filepath.Join(dir, "fd", strconv.Itoa(n)))
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue // closed meanwhile
			}
			return nil, err
		}
		if ino, ok := inodeOf(link, "socket"); ok {
			s.sockets[ino] = append(s.sockets[ino], n)
		}
	}
	if link, err := os.Readlink(filepath.Join(dir, "ns", "net")); err == nil {
		s.netNS, _ = inodeOf(link, "net")
	}
	s.dir, _ = os.Readlink(filepath.Join(dir, "cwd"))
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		s.command = strings.TrimSuffix(string(comm), "\n")
	}
	return s, nil
}

// inodeOf reads a link like socket:[4858273].
func inodeOf(link, kind string) (uint64, bool) {
	s, ok := strings.CutPrefix(link, kind+":[")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "]")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// readEntries finds the sockets of some processes in the tables of the network namespaces that these are in, by inode:
// inodes are of the whole system, so that two namespaces practically have none in common (the numbers come again after 2^32).
func readEntries(all []*seen) (map[uint64]entry, error) {
	wanted := map[uint64]bool{}
	for _, s := range all {
		for ino := range s.sockets {
			wanted[ino] = true
		}
	}
	es := newEntries(len(wanted))
	read := map[uint64]bool{}
	for _, s := range all {
		if len(s.sockets) == 0 || s.netNS != 0 && read[s.netNS] {
			continue
		}
		err := readNet(s, wanted, func(e entry) {
			e.netNS = s.netNS
			es.add(e)
		})
		switch {
		case err == nil:
			read[s.netNS] = true
		case errors.Is(err, os.ErrNotExist): // it has ended; another process of the namespace may be there still
		default:
			return nil, err
		}
	}
	return es.found, nil
}

// readNet reads the tables of the network namespace that a process is in. Those of Unix sockets are asked of sock_diag, if
// that is this thread's namespace too.
func readNet(s *seen, wanted map[uint64]bool, add func(entry)) error {
	opened := false
	isWanted := func(ino uint64) bool { return wanted[ino] }
	for _, t := range tables {
		if t.name == "unix" && diagUnix(s.netNS, isWanted, add) {
			continue
		}
		f, err := os.Open(filepath.Join(procDir(s.pid), "net", t.name))
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6, for example
		}
		if err != nil {
			return err
		}
		opened = true
		err = readTable(f, t.inode, isWanted, t.parse, add)
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	if !opened {
		return os.ErrNotExist
	}
	return nil
}
