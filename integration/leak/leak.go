// Package leak fails a package's tests if they leave goroutines, descriptors or temporary files behind.
//
//	func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }
package leak

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds the wait for what is still going away when the last test has ended.
const patience = 5 * time.Second

// Main runs the tests of m and returns the status to exit with. If they pass, it waits up to a few seconds until all
// goroutines and descriptors that the tests made are gone, and otherwise prints their stacks and what they refer to,
// and returns 1. Descriptors are seen on Linux only.
//
// The tests, and what they start, have a temporary directory of their own (TMPDIR), where nothing may be left. If tests
// fail, what they left stays there.
func Main(m *testing.M) int {
	return inTemporary(func() int { return run(m.Run, os.Stderr, patience) }, os.Stderr)
}

func inTemporary(tests func() int, w io.Writer) int {
	const env = "TMPDIR"
	dir, err := os.MkdirTemp("", "t") // short: the paths of sockets have at most 107 bytes
	if err == nil {
		err = os.Chmod(dir, 0o777|os.ModeSticky) // some tests start other users' processes
	}
	before, was := os.LookupEnv(env)
	if err == nil {
		err = os.Setenv(env, dir)
	}
	if err != nil {
		fmt.Fprintf(w, "leak: a temporary directory for the tests: %v\n", err)
		return 1
	}
	code := tests()
	if was {
		err = os.Setenv(env, before)
	} else {
		err = os.Unsetenv(env)
	}
	if code != 0 {
		_ = os.Remove(dir) // unless something is left in it
		return code
	}
	left, errRead := os.ReadDir(dir)
	left = slices.DeleteFunc(left, func(f os.DirEntry) bool {
		return strings.HasPrefix(f.Name(), "go-build") // of the go command, which some tests start and kill
	})
	for _, f := range left {
		fmt.Fprintf(w, "leak: %s is still in the temporary directory\n", f.Name())
	}
	if err := errors.Join(err, errRead, os.RemoveAll(dir)); err != nil {
		fmt.Fprintf(w, "leak: %v\n", err)
		return 1
	}
	return min(len(left), 1)
}

func run(tests func() int, w io.Writer, wait time.Duration) int {
	warmUp()
	before := take()
	if code := tests(); code != 0 {
		return code // a test that failed may have skipped its clean-up; one report is enough
	}
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		// What is garbage but not collected yet is no leak of goroutines, and a descriptor that only a finalizer closes
		// is one; so no runtime.GC here.
		left := take().minus(before)
		if left.empty() {
			return 0
		}
		if time.Now().After(deadline) {
			left.print(w)
			return 1
		}
		time.Sleep(pause) // polling, with a deadline: neither goroutines nor descriptors can be waited for
	}
}

// warmUp makes the runtime open what it keeps for ever: the poller's epoll and eventfd.
func warmUp() {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
}

// snapshot is what exists at one moment.
type snapshot struct {
	goroutines map[string]string // stack by number
	files      map[string]string // what a descriptor refers to, by number
}

func take() snapshot {
	return snapshot{goroutines: goroutines(), files: files()}
}

// minus is what s has and o had not. A number that was used again for another file counts as new.
func (s snapshot) minus(o snapshot) snapshot {
	d := snapshot{goroutines: map[string]string{}, files: map[string]string{}}
	for id, stack := range s.goroutines {
		if _, ok := o.goroutines[id]; !ok {
			d.goroutines[id] = stack
		}
	}
	for n, link := range s.files {
		if o.files[n] != link {
			d.files[n] = link
		}
	}
	return d
}

func (s snapshot) empty() bool { return len(s.goroutines) == 0 && len(s.files) == 0 }

func (s snapshot) print(w io.Writer) {
	for _, n := range sorted(s.files) {
		fmt.Fprintf(w, "leak: descriptor %s -> %s is still open\n", n, s.files[n])
	}
	for _, id := range sorted(s.goroutines) {
		fmt.Fprintf(w, "leak: a goroutine is still there:\n%s\n\n", s.goroutines[id])
	}
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// goroutines returns all stacks but those that the runtime and package os/signal start once and never end.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := map[string]string{}
	for stack := range strings.SplitSeq(strings.TrimSpace(string(buf)), "\n\n") {
		if strings.Contains(stack, "os/signal.loop") || strings.Contains(stack, "created by runtime.") {
			continue
		}
		head, _, _ := strings.Cut(stack, " [")
		all[head] = stack
	}
	return all
}

// files returns what the descriptors of this process refer to; nothing where there is no /proc.
func files() map[string]string {
	const dir = "/proc/self/fd"
	all := map[string]string{}
	d, err := os.Open(dir)
	if err != nil {
		return all
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return all
	}
	for _, name := range names {
		// The directory itself is among them, and is not one of anybody else's.
		if link, err := os.Readlink(dir + "/" + name); err == nil && !strings.HasSuffix(link, fmt.Sprintf("/%d/fd", os.Getpid())) {
			all[name] = link
		}
	}
	return all
}
