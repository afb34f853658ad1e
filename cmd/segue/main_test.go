package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/process"
)

func TestParseListen(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want listenArg
		bad  bool
	}{
		{in: ":80", want: listenArg{"tcp-80", "tcp", ":80"}},
		{in: "127.0.0.1:http", want: listenArg{"tcp-http", "tcp", "127.0.0.1:http"}},
		{in: "[::1]:80", want: listenArg{"tcp-80", "tcp", "[::1]:80"}},
		{in: "udp/:53", want: listenArg{"udp-53", "udp", ":53"}},
		{in: "tcp6/[::]:80", want: listenArg{"tcp6-80", "tcp6", "[::]:80"}},
		{in: "/run/app.sock", want: listenArg{"unix-app.sock", "unix", "/run/app.sock"}},
		{in: "@name", want: listenArg{"unix-@name", "unix", "@name"}},
		{in: "unixgram//run/a:b", want: listenArg{"unixgram-a_b", "unixgram", "/run/a:b"}},
		{in: "unix/rel/path", want: listenArg{"unix-path", "unix", "rel/path"}},
		{in: "web=:80", want: listenArg{"web", "tcp", ":80"}},
		{in: "web=udp/:80", want: listenArg{"web", "udp", ":80"}},
		{in: "/run/a=b", want: listenArg{"unix-a=b", "unix", "/run/a=b"}},
		{in: "", bad: true},
		{in: "80", bad: true},
		{in: "foo/:80", bad: true},
		{in: "localhost:", bad: true},
		{in: "=:80", bad: true},
		{in: "a\nb=:80", bad: true},
		{in: "ü=:80", bad: true},
		{in: "unix/", bad: true},
		{in: "web=", bad: true},
	} {
		got, err := parseListen(tt.in)
		if (err != nil) != tt.bad || err == nil && got != tt.want {
			t.Errorf("%q is %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}

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

// TestCompletion completes in the shells that are there.
func TestCompletion(t *testing.T) {
	script := func(shell string) string {
		var out strings.Builder
		e := env{stdout: &out, stderr: &out}
		if s := e.run([]string{"completion", shell}); s != 0 {
			t.Fatalf("status %d: %s", s, &out)
		}
		return out.String()
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		s := script(shell)
		for _, want := range []string{"sockets", "adopt", "json", "signal", "QUIT"} {
			if !strings.Contains(s, want) {
				t.Errorf("%s: no %s", shell, want)
			}
		}
		if strings.Contains(s, "adopt-") {
			t.Errorf("%s: has what is hidden", shell)
		}
		if path, err := exec.LookPath(shell); err == nil {
			cmd := exec.Command(path, "-n")
			cmd.Stdin = strings.NewReader(s)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s -n: %v: %s", shell, err, out)
			}
		}
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		missing(t, "bash", "for example: apt-get install bash")
	}
	for line, want := range map[string]string{
		"segue a":                   "adopt",
		"segue sockets --j":         "--json",
		"segue adopt --signal Q":    "QUIT",
		"segue completion z":        "zsh",
		"segue help com":            "completion",
		"segue adopt --pid 1 -- tr": "true",
	} {
		words := strings.Fields(line)
		cmd := exec.Command(bash, append([]string{"-c", script("bash") + `
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _segue_words; printf '%s\n' "${COMPREPLY[@]}"`, "bash"}, words...)...)
		out, err := cmd.CombinedOutput()
		if err != nil || !slices.Contains(strings.Split(string(out), "\n"), want) {
			t.Errorf("%q completes to %q, %v; want %s", line, out, err, want)
		}
	}
}

// TestZshFirstTab: zsh loads the script from a directory at the first Tab, which completes as every other.
func TestZshFirstTab(t *testing.T) {
	zsh, err := exec.LookPath("zsh")
	if err != nil {
		t.Skip("missing: zsh; for example: apt-get install zsh")
	}
	dir := t.TempDir()
	var script strings.Builder
	if s := (env{stdout: &script, stderr: &script}).run([]string{"completion", "zsh"}); s != 0 {
		t.Fatalf("status %d: %s", s, &script)
	}
	if err := os.WriteFile(filepath.Join(dir, "_segue"), []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, zsh, "-f", "-c", `
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; fpath=($1 \$fpath); autoload -U compinit && compinit -u -D; print rea''dy"
zpty -r shell reply '*ready*'
zpty -w -n shell $'segue ado\t'
zpty -r shell reply '*ado*pt*'
print -r -- completed
zpty -d shell`, "zsh", dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "completed") {
		t.Errorf("%v: %s", err, out)
	}
}

// missing skips a test for want of something, unless that is to be there.
func missing(t *testing.T, what, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing: %s; %s", what, remedy)
	}
	t.Skipf("missing: %s; %s", what, remedy)
}

// TestRefusal wants plain words, that do not tell root to become root.
func TestRefusal(t *testing.T) {
	for _, cause := range []error{fdpass.ErrFiltered, fdpass.ErrOtherUser, fdpass.ErrNotDumpable, fdpass.ErrPrivileged, fdpass.ErrYama} {
		for _, root := range []bool{false, true} {
			err := plainly(7, root, fmt.Errorf("%w: %w", process.ErrRefused, cause))
			text := err.Error()
			if !errors.Is(err, process.ErrRefused) || strings.Contains(text, "fdpass") || root && strings.Contains(text, "as root") {
				t.Errorf("root %v: %v", root, err)
			}
		}
	}
	if err := plainly(7, false, process.ErrGone); err != process.ErrGone { //nolint:errorlint // the very one
		t.Errorf("what is no refusal: %v", err)
	}
}

// TestOutputFails: who cannot write what was asked for fails.
func TestOutputFails(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {"help", "adopt"}, {"adopt", "--help"}, {"version"}, {"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}} {
		var stderr strings.Builder
		if s := (env{stdout: full{}, stderr: &stderr}).run(args); s != exitFailure || !strings.Contains(stderr.String(), "no space") {
			t.Errorf("%v: status %d: %s", args, s, &stderr)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }
