package main

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/segue-go/segue/handoff/process"
)

func TestChoose(t *testing.T) {
	all := []process.Socket{
		{Network: "tcp", Address: "0.0.0.0:80", Inode: 1},
		{Network: "tcp", Address: "[::]:80", Inode: 2},
		{Network: "udp", Address: "0.0.0.0:80", Inode: 3},
		{Network: "unix", Address: "/run/a", Inode: 4},
	}
	list := func(args ...string) (ls []listenArg) {
		for _, a := range args {
			l, err := parseListen(a)
			if err != nil {
				t.Fatal(err)
			}
			ls = append(ls, l)
		}
		return ls
	}
	chosen, names, err := choose(t.Context(), 1, all, list("/run/a", "v6=[::]:80", ":80", "udp/:80"))
	if err != nil {
		t.Fatal(err)
	}
	var inodes []uint64
	for _, s := range chosen {
		inodes = append(inodes, s.Inode)
	}
	if !slices.Equal(inodes, []uint64{4, 2, 1, 3}) || !slices.Equal(names, []string{"unix-a", "v6", "tcp-80", "udp-80"}) {
		t.Errorf("chose %v, %v", inodes, names)
	}
	var none *process.NoSocketError
	if _, _, err := choose(t.Context(), 1, all, list(":81")); !errors.As(err, &none) || len(none.Have) != 4 {
		t.Errorf("chose none: %v", err)
	}
}

// TestHelp wants all commands and flags explained, in lines that fit a terminal of the usual width and a half.
func TestHelp(t *testing.T) {
	for _, c := range visible() {
		var out strings.Builder
		e := env{stdout: &out, stderr: &out}
		if s := e.run([]string{"help", c.name}); s != 0 {
			t.Errorf("help %s: status %d", c.name, s)
		}
		long := out.String()
		out.Reset()
		if s := e.run([]string{c.name, "--help"}); s != 0 || out.String() != long {
			t.Errorf("%s --help: status %d, not the same as help", c.name, s)
		}
		fs := c.flags()
		c.setup(e, fs)
		fs.VisitAll(func(f *flag.Flag) {
			if f.Usage == "" || !strings.Contains(long, "--"+f.Name) {
				t.Errorf("%s does not explain --%s", c.name, f.Name)
			}
		})
		for l := range strings.Lines(long) {
			if len(l) > 125 {
				t.Errorf("%s: a line of %d bytes: %s", c.name, len(l), l)
			}
		}
		out.Reset()
		e.run([]string{"--help"})
		if !strings.Contains(out.String(), c.name) || !strings.Contains(out.String(), c.summary) {
			t.Errorf("the overview does not have %s", c.name)
		}
	}
	var out strings.Builder
	if s := (env{stdout: &out, stderr: &out}).run([]string{"--version"}); s != 0 || !strings.HasPrefix(out.String(), "segue ") {
		t.Errorf("--version: status %d, %s", s, &out)
	}
}
