package integration

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const nobodyReads = "nobody reads what this process prints; it is lost"

// TestOutputWithoutReader: the output of a server goes to a supervisor that closes its end when the process that it has
// started itself, generation 1, has ended. Those that come after it print on, and live.
func TestOutputWithoutReader(t *testing.T) {
	for _, tt := range []struct {
		name, pipe, command string
	}{
		{"default", "", ""}, {"writer", "", "writer"},
		{"ignored before Join", "ignore before", ""}, {"ignored after Join", "ignore after", ""},
		{"notified before Join", "notify before", ""}, {"notified after Join", "notify after", ""},
		{"reset after Join", "reset after", ""},
		{"fifo", "", ""}, {"socket", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "started")
			w.conf.Pipe, w.conf.Command = tt.pipe, tt.command
			out, reader := w.output(tt.name)
			w.adapt = func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = out, out }
			p := w.serving("started")
			_ = out.Close()
			w.order(p, "print by the first")
			if tt.command == "" {
				line, err := bufio.NewReader(reader).ReadString('\n')
				if err != nil || line != "by the first\n" {
					t.Fatalf("the supervisor reads %q, %v", line, err)
				}
			}
			for generation := 2; generation < 5; generation++ {
				p = w.next(p)
				_ = reader.Close()
				if tt.pipe == "reset after" { // the one choice that segue undoes, once it has noticed
					w.wait(0, p.pid, "log", nobodyReads)
				}
				first := w.order(p, "print to nobody") // it may not be noticed yet
				w.wait(0, p.pid, "log", nobodyReads)
				second := w.order(p, "print to nobody")
				for _, got := range []told{first, second} {
					if tt.command == "writer" && generation == 2 {
						break // the first one, which copies, may be about to end only
					}
					if len(got.Errs) != 2 {
						t.Errorf("generation %d: prints with %v, want two errors", generation, got.Errs)
					}
					if want := strings.HasPrefix(tt.pipe, "ignore"); got.Ignored != want {
						t.Errorf("generation %d: SIGPIPE ignored: %v", generation, got.Ignored)
					}
					if want := strings.HasPrefix(tt.pipe, "notify"); (got.Broken > 0) != want {
						t.Errorf("generation %d: the program was notified %d times", generation, got.Broken)
					}
				}
				if n := w.warnings(p, nobodyReads); n != 1 {
					t.Errorf("generation %d: %d warnings", generation, n)
				}
			}
			mark := w.mark()
			w.signal(p, unix.SIGTERM) // it prints a last line
			if e := w.wait(mark, p.pid, "exit", ""); e.N != 0 {
				t.Errorf("it ends with status %d", e.N)
			}
		})
	}
}

// output makes what a supervisor gives its child to print to, and where it reads that.
func (w *world) output(kind string) (out, reader *os.File) {
	w.t.Helper()
	var err error
	switch kind {
	case "fifo":
		name := w.dir + "/out"
		if err := unix.Mkfifo(name, 0o600); err != nil {
			w.t.Fatal(err)
		}
		if reader, err = os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
			out, err = os.OpenFile(name, os.O_WRONLY, 0)
		}
	case "socket":
		var pair [2]int
		pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		out, reader = os.NewFile(uintptr(pair[0]), "out"), os.NewFile(uintptr(pair[1]), "reader")
	default:
		reader, out, err = os.Pipe()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _, _ = out.Close(), reader.Close() })
	return out, reader
}

// TestHelperOutlivesPredecessor: what a successor has started before it owned prints through the predecessor, and after
// that through the successor.
func TestHelperOutlivesPredecessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "started")
	w.conf.Helper = true
	out, reader := w.output("pipe")
	w.adapt = func(cmd *exec.Cmd) { cmd.Stdout = out }
	p := w.serving("started")
	_ = out.Close()
	_ = reader.SetReadDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(reader)
	expect := func() {
		t.Helper()
		for range 3 {
			w.order(p, "help me")
			want := fmt.Sprintf("%d: me\n", p.pid)
			for line := ""; line != want; {
				var err error
				if line, err = lines.ReadString('\n'); err != nil {
					t.Fatalf("the helper of pid %d: %v", p.pid, err)
				}
			}
		}
	}
	expect()
	for range 3 {
		p = w.next(p)
		expect()
	}
}
