package integration

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// successorProgram is a successor that was written from section 11 of docs/protocol.md, and from nothing else.
//
//go:embed testdata/successor.py
var successorProgram string

// python is where Python 3 is.
func python() (string, error) {
	if path, err := exec.LookPath("/usr/bin/python3"); err == nil {
		return path, nil
	}
	return exec.LookPath("python3")
}

// roleMinimal becomes that program.
func roleMinimal(c conf, e *emitter) int {
	path, err := python()
	if err == nil {
		// It has no lifeline. An alarm outlives execve(2).
		_, err = unix.Setitimer(unix.ITIMER_REAL, unix.Itimerval{Value: unix.Timeval{Sec: 300}})
	}
	if err == nil {
		network, address, _ := strings.Cut(c.Listen[0], "/")
		err = syscall.Exec(path, []string{path, "-c", successorProgram, c.Path, network, address}, os.Environ())
	}
	e.result("exec", err)
	return 1
}

// TestMinimalSuccessor: what docs/protocol.md asks of a successor that takes part in nothing optional is enough.
func TestMinimalSuccessor(t *testing.T) {
	if _, err := python(); err != nil {
		used.Lock()
		used.roles["minimal"] = true // as far as it can be
		used.Unlock()
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no python3: install it")
		}
		t.Skip("there is no python3")
	}
	for _, way := range []string{"upgrade", "join"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			for i := range 260 { // more than one OFFER, and what it does not ask for
				w.conf.Listen = append(w.conf.Listen, fmt.Sprintf("unix/%s/%d", w.dir, i))
			}
			w.conf.SpawnRole = "minimal"
			a := w.serving("tcp")
			vs := come(t, w.addr, 3)
			vs.answered(t, a.pid)
			b := w.succeed(way, a, "minimal")
			vs.answered(t, b.pid)
			w.ended(a)
			vs.answered(t, b.pid)
			mark := w.mark()
			c := w.start("tcp")
			if e := w.wait(mark, c.pid, "join", ""); !strings.Contains(e.Err, fmt.Sprintf("process %d hands over to nobody", b.pid)) ||
				!strings.Contains(e.Is, "unsupported") {
				t.Errorf("a successor of it: %v", e)
			}
			w.ended(c)
			vs.answered(t, b.pid)
			for _, v := range lost(vs.leave()) {
				t.Errorf("lost: %v", v)
			}
			w.signal(b, unix.SIGTERM)
			w.ended(b)
			w.conf.SpawnRole = ""
			faultCase{way: way}.goOn(t, w, nil)
		})
	}
}
