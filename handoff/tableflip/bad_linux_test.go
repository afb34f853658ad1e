package tableflip_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/tableflip"
)

// inherit calls Inherit, without patience if an argument is "hurry", and asks for what its arguments name, as name,network,address.
func inherit(args []string) int {
	within := patience
	if slices.Contains(args, "hurry") {
		within = 100 * time.Millisecond
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), within, errors.New("too slow"))
	defer cancel()
	p, err := tableflip.Inherit(ctx, tableflip.Options{})
	if err != nil {
		fmt.Println(err)
		for n := 3; n < 6; n++ { // of what TestInherit gives
			if _, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d", n)); err == nil {
				if to, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n)); strings.HasPrefix(to, "pipe:") || to == os.DevNull {
					fmt.Println("left open:", n)
				}
			}
		}
		return 1
	}
	defer p.Close()
	fmt.Println("present", p.Present(), os.Getenv("TABLEFLIP_HAS_PARENT_7DIU3"))
	for _, a := range args {
		w := strings.Split(a, ",")
		fd, err := p.Source().Open(ctx, w[0], w[1], w[2])
		fmt.Println(fd != nil, err)
		if fd != nil {
			defer fd.Close()
		}
	}
	return 0
}

// TestInherit gives Inherit what tableflip would, and what it would not.
func TestInherit(t *testing.T) {
	null, err := os.Open(os.DevNull)
	must(t, err)
	defer null.Close()
	encoded := func(names ...[]string) []byte {
		var b bytes.Buffer
		must(t, gob.NewEncoder(&b).Encode(names))
		return b.Bytes()
	}
	sockets := [][]string{{"listener", "tcp", ":8080"}, {"packet", "udp", "127.0.0.1:53"}, {"fd", "log", ""}, {"listener", "unix", "/x"}, {"listener", "tcp", "127.0.0.1:0"}}
	tests := map[string]struct {
		unset  bool // the variable
		pipes  bool
		names  []byte
		close  bool // the pipe that brings the names
		files  int
		asks   []string
		want   []string // in what it prints
		not    string
		status int
	}{
		"nothing":                {unset: true, asks: []string{"a,tcp,:1"}, want: []string{"present false \n", "false <nil>"}},
		"stale variable":         {want: []string{"unset it", "descriptor 3 is not the pipe"}, status: 1},
		"no pipes":               {files: 2, want: []string{"unset it", "descriptor"}, status: 1},
		"silent parent":          {pipes: true, asks: []string{"hurry"}, want: []string{"tableflip: take over from the parent: ", "too slow"}, not: "unset it", status: 1},
		"parent that ends":       {pipes: true, close: true, want: []string{"take over from the parent", "EOF"}, not: "unset it", status: 1},
		"garbage":                {pipes: true, names: []byte("hello, world"), close: true, want: []string{"names"}, not: "left open", status: 1},
		"fewer descriptors":      {pipes: true, names: encoded(sockets...), files: 1, want: []string{"take over from the parent", "descriptor 6, which is to be packet udp 127.0.0.1:53"}, not: "left open", status: 1},
		"none":                   {pipes: true, names: encoded(), asks: []string{"a,tcp,:1"}, want: []string{"present true \n", "false <nil>"}},
		"more of a name's parts": {pipes: true, names: encoded([]string{"fd", "log", "", "more"}, []string{}), files: 2, asks: []string{"log,,"}, want: []string{"true <nil>"}},
		"what there is": {pipes: true, names: encoded(sockets...), files: len(sockets),
			asks: []string{"x,tcp,:8080", "x,tcp,:8080", "x,tcp,localhost:8080", "x,udp,:54", "x,udp,:53", "log,,", "users,unix,/y", "x,tcp,127.0.0.1:0", "x,udp,127.0.0.1:53", "users,unix,/x"},
			want: []string{"present true \ntrue <nil>\nfalse <nil>\nfalse <nil>\nfalse <nil>\n" +
				"false tableflip: the old program has this socket by other words; ask for \"udp\", \"127.0.0.1:53\"\n" +
				"true <nil>\nfalse <nil>\ntrue <nil>\ntrue <nil>\ntrue <nil>\n"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", tt.asks...)
			cmd.Env = append(os.Environ(), envRole+"=inherit", "GOCOVERDIR="+os.TempDir())
			if !tt.unset {
				cmd.Env = append(cmd.Env, "TABLEFLIP_HAS_PARENT_7DIU3=yes")
			}
			var theirs []*os.File
			if tt.pipes {
				r, w, err := os.Pipe()
				must(t, err)
				defer r.Close()
				names, tell, err := os.Pipe()
				must(t, err)
				defer tell.Close()
				theirs = append(theirs, w, names)
				_, err = tell.Write(tt.names)
				must(t, err)
				if tt.close {
					must(t, tell.Close())
				}
			}
			cmd.ExtraFiles = theirs
			for range tt.files {
				cmd.ExtraFiles = append(cmd.ExtraFiles, null)
			}
			out, err := cmd.CombinedOutput()
			for _, f := range theirs {
				_ = f.Close()
			}
			var exit *exec.ExitError
			if status := cmd.ProcessState.ExitCode(); status != tt.status || err != nil && !errors.As(err, &exit) {
				t.Errorf("it ended with %v", err)
			}
			if tt.not != "" && strings.Contains(string(out), tt.not) {
				t.Errorf("it printed %s\nwithout %q", out, tt.not)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("it printed %s\nwant %q", out, want)
				}
			}
		})
	}
}

// TestRollbackRefused goes on serving where there is nothing to roll back to.
func TestRollbackRefused(t *testing.T) {
	dir, err := os.MkdirTemp("", "flip")
	must(t, err)
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	gen, err := handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "segue")})
	must(t, err)
	defer gen.Close()
	ln, err := gen.ListenAs(ctx, "first", "tcp", "127.0.0.1:0", nil)
	must(t, err)
	must(t, gen.Ready(ctx))
	attempt := func(want string, o tableflip.RollbackOptions) {
		t.Helper()
		err := tableflip.Rollback(ctx, gen, o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("rolled back: %v, want %q", err, want)
		}
		var child *handoff.ChildError
		if how, ok := strings.CutPrefix(want, "exit status "); ok && (!errors.As(err, &child) || !child.Ended || fmt.Sprint(child.Exit.Code) != how) {
			t.Errorf("how it ended: %+v", child)
		}
		if p := gen.Status().Phase; p != handoff.PhaseServing {
			t.Fatalf("phase %s", p)
		}
		c, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		_ = c.Close()
		c, err = ln.Accept()
		must(t, err)
		_ = c.Close()
	}
	null, err := os.Open(os.DevNull)
	must(t, err)
	defer null.Close()
	attempt("no such file", tableflip.RollbackOptions{Command: func(c *exec.Cmd) { c.Path = filepath.Join(dir, "missing") }})
	attempt("ExtraFiles", tableflip.RollbackOptions{Command: func(c *exec.Cmd) { c.ExtraFiles = []*os.File{null} }})
	attempt("must be files", tableflip.RollbackOptions{Command: func(c *exec.Cmd) { c.Stdout = io.Discard }})
	shell := func(script string) func(*exec.Cmd) {
		return func(c *exec.Cmd) { c.Path, c.Args = "/bin/sh", []string{"sh", "-c", script} }
	}
	// One that closes its pipe is given up when it ends, or at the deadline; one that says something else at once.
	attempt("exit status 7", tableflip.RollbackOptions{Command: shell("exec 3>&-; exit 7")})
	attempt("it wrote 120", tableflip.RollbackOptions{Command: shell("echo x >&3; exec sleep 60")})
	closed, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	_ = closed.Close()
	c, err := ln.Accept()
	must(t, err)
	_ = c.Close()
	attempt("conn tcp gone", tableflip.RollbackOptions{Conns: []tableflip.Conn{{Network: "tcp", Address: "gone", Conn: closed.(*net.TCPConn)}}})
	second, err := gen.ListenAs(ctx, "second", "tcp", "127.0.0.1:0", nil)
	must(t, err)
	attempt("there are several of listener tcp 127.0.0.1:0", tableflip.RollbackOptions{})
	must(t, second.Close())
}

// TestRollbackKilled: the second name of a path, which a Rollback that was killed has left behind, is removed when the program is
// started again, and by the next Rollback.
func TestRollbackKilled(t *testing.T) {
	dir, err := os.MkdirTemp("", "flip")
	must(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "users")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	must(t, err)
	dead.SetUnlinkOnClose(false)
	leave := func() {
		t.Helper()
		must(t, os.Link(path, path+".segue-rollback"))
	}
	gone := func(when string) {
		t.Helper()
		if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
			t.Errorf("%s: left %s", when, left)
		}
	}
	leave()
	must(t, dead.Close())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	parent, err := tableflip.Inherit(ctx, tableflip.Options{})
	must(t, err)
	gen, err := handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "segue"), Sources: []handoff.Source{parent.Source()}})
	must(t, err)
	defer gen.Close()
	_, err = gen.Listen(ctx, "unix", path)
	must(t, err)
	gone("started again")
	must(t, gen.Ready(ctx))
	leave()
	err = tableflip.Rollback(ctx, gen, tableflip.RollbackOptions{Command: func(c *exec.Cmd) { c.Path, c.Args = "/bin/false", []string{"false"} }})
	if !strings.Contains(fmt.Sprint(err), "exit status 1") {
		t.Errorf("rolled back: %v", err)
	}
	gone("rolled back again")
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}
