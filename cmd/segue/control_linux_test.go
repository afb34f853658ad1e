package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/segue-go/segue/handoff"
)

// TestControlStatuses asks chains of each kind, and wants the exit status that the help promises. Package control tests the rest.
func TestControlStatuses(t *testing.T) {
	dir, err := os.MkdirTemp("", "segue")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }

	must(t, os.WriteFile(at("file"), nil, 0o600))
	other, err := net.Listen("unix", at("other"))
	must(t, err)
	defer func() { _ = other.Close() }()
	gen, err := handoff.Join(t.Context(), handoff.Config{
		Path:    at("chain"),
		Command: func() *exec.Cmd { return exec.Command("/bin/sh", "-c", `printf 'no \033[31mdatabase' >&2; exit 3`) },
	})
	must(t, err)
	defer func() { _ = gen.Close() }()
	_, err = gen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	must(t, gen.Ready(t.Context()))

	for _, c := range []struct {
		args   string
		status int
		out    string // some of what is printed
	}{
		{"status " + at("chain"), exitOK, "serving"},
		{"status --json " + at("chain"), exitOK, `"generation": 1`},
		{"upgrade " + at("chain"), exitFailed, "it serves on"},
		{"upgrade " + at("chain"), exitFailed, "no ?[31mdatabase"},     // which does not drive the terminal
		{"status " + at("chain"), exitOK, "mend what it printed last"}, // what to do, and where all of it is
		{"status " + at("chain"), exitOK, "segue history " + at("chain")},
		{"history " + at("chain"), exitOK, "died"},
		{"history --json " + at("chain"), exitOK, `"result": "failed"`},
		{"history -n 1 " + at("chain"), exitOK, "exit status: 3"},
		{"history -n 1 " + at("chain"), exitOK, "no  [31mdatabase"},
		{"history -n 1 " + at("chain"), exitOK, "what to do"},
		{"history -n 9 " + at("chain"), exitFailure, "there are 2"},
		{"history " + at("chain") + " nonsense", exitFailure, "no handoff"},
		{"history -n 1 " + at("chain") + " 00", exitUsage, "not both"},
		{"history " + at("nobody"), exitNobody, "nobody is there"},
		{"status --watch " + at("nobody"), exitNobody, "nobody is there"},
		{"retire " + at("chain"), exitOK, "no such generation drains"},
		{"retire " + at("chain") + " 1", exitFailed, "not older"},
		{"retire " + at("chain") + " x", exitUsage, "GENERATION"},
		{"retire " + at("file"), exitNoChain, "no socket"},
		{"status " + at("nobody"), exitNobody, "nobody is there"},
		{"stop " + at("nobody"), exitNobody, "nobody is there"},
		{"upgrade " + at("file"), exitNoChain, "no socket"},
		{"upgrade " + at("other"), exitNoChain, "something else"},
		{"upgrade", exitUsage, "PATH"},
		{"status a b", exitUsage, "PATH"},
		{"upgrade --timeout 0s " + at("chain"), exitFailure, "--timeout"},
	} {
		var out strings.Builder
		e := env{stdout: &out, stderr: &out}
		if got := e.run(strings.Fields(c.args)); got != c.status || !strings.Contains(out.String(), c.out) {
			t.Errorf("%s: status %d, want %d, and %q in\n%s", c.args, got, c.status, c.out, &out)
		}
	}

	t.Run("another user", func(t *testing.T) {
		if os.Getuid() != 0 {
			skip(t, "root, to be another user")
		}
		must(t, os.Chmod(dir, 0o755))
		for _, mode := range []os.FileMode{0o600, 0o666} { // the second: the kernel lets it connect
			must(t, os.Chmod(at("chain.control"), mode))
			cmd := exec.Command("/proc/self/exe", "status", at("chain"))
			cmd.Env = append(os.Environ(), envRole+"=segue")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != exitForbidden {
				t.Errorf("with mode %o: status %d\n%s", mode, got, out)
			}
		}
	})
}
