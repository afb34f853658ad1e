package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

// visible returns the commands that the help lists.
func visible() []*cobra.Command {
	return slices.DeleteFunc(env{}.tree().Commands(), func(c *cobra.Command) bool { return c.Hidden })
}

// TestHelp wants all commands and flags explained, in lines that fit a terminal of the usual width and a half.
func TestHelp(t *testing.T) {
	said := func(args ...string) string {
		t.Helper()
		var out strings.Builder
		if s := (env{stdout: &out, stderr: &out}).run(args); s != 0 {
			t.Errorf("%q: status %d: %s", args, s, &out)
		}
		return out.String()
	}
	overview := said("--help")
	for _, c := range visible() {
		name := c.Name()
		long := said("help", name)
		if name != "help" && said(name, "--help") != long {
			t.Errorf("%s --help is not the same as help", name)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || !strings.Contains(long, "--"+f.Name) {
				t.Errorf("%s does not explain --%s", name, f.Name)
			}
		})
		for l := range strings.Lines(long + overview) {
			if len(l) > 125 {
				t.Errorf("%s: a line of %d bytes: %s", name, len(l), l)
			}
		}
		if !strings.Contains(overview, name) || !strings.Contains(overview, c.Short) {
			t.Errorf("the overview does not have %s", name)
		}
	}
	if v := said("--version"); !strings.HasPrefix(v, "segue ") || v != said("version") {
		t.Errorf("--version: %s", v)
	}
	for _, args := range [][]string{{"help", "adopt-exec"}, {"help", "no"}, {"no"}, {}} {
		var out strings.Builder
		if s := (env{stdout: &out, stderr: &out}).run(args); s != exitUsage || out.Len() == 0 {
			t.Errorf("%q: status %d: %s", args, s, &out)
		}
	}
}
