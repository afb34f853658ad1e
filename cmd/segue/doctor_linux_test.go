package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/cmd/segue/internal/doctor"
	"github.com/segue-go/segue/handoff/control"
)

// chain starts a server of segue whose rendezvous is in a directory of its own, by a shell that says something before.
func chain(t *testing.T, before string) (path string, server *exec.Cmd) {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe, err := os.Executable()
	must(t, err)
	path = filepath.Join(dir, "chain")
	server = exec.Command("/bin/sh", "-c", before+` exec "$0" 127.0.0.1:0`, exe)
	server.Env = append(os.Environ(), envRole+"=server", "SEGUE_RENDEZVOUS="+path)
	server.Dir = dir
	server.Stderr = os.Stderr
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	must(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(unix.SIGCONT)
		_ = server.Process.Signal(unix.SIGTERM)
		_ = server.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := (&control.Client{Path: path}).Status(t.Context()); err == nil {
			return path, server
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestBadPaths asks, by each command that takes a PATH, where no chain answers: each kind has a status of its own, and none waits without a bound.
func TestBadPaths(t *testing.T) {
	dir, err := os.MkdirTemp("", "segue")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	other, err := net.Listen("unix", dir+"/other")
	must(t, err)
	defer func() { _ = other.Close() }()
	older, _ := chain(t, "")
	must(t, os.Remove(older+".control"))
	hung, server := chain(t, "")
	must(t, server.Process.Signal(unix.SIGSTOP))
	dead, killed := chain(t, "")
	must(t, killed.Process.Kill())
	_ = killed.Wait()
	var wg sync.WaitGroup
	for _, tt := range []struct {
		path   string
		status int
		want   string
	}{
		{dir + "/nobody", exitNobody, "nobody is there"},
		{dead, exitNobody, "has ended"},
		{dir + "/file", exitNoChain, "no socket"},
		{dir + "/other", exitNoChain, "something else"},
		{older, exitNoControl, "older version"},
		{hung, exitSilent, "stopped, or stuck"},
	} {
		for _, command := range []string{"status", "upgrade", "stop", "doctor"} {
			wg.Go(func() {
				var out strings.Builder
				e := env{stdout: &out, stderr: &out}
				begun := time.Now()
				if got := e.run([]string{command, tt.path}); got != tt.status || !strings.Contains(out.String(), tt.want) {
					t.Errorf("%s %s: status %d after %v, want %d, and %q in\n%s", command, tt.path, got, time.Since(begun), tt.status, tt.want, &out)
				}
			})
		}
	}
	wg.Wait()
}

// TestDoctor looks at a server that is well, and at some that are not.
func TestDoctor(t *testing.T) {
	examine := func(path string) (status int, all []doctor.Finding) {
		var out strings.Builder
		status = (env{stdout: &out, stderr: &out}).run([]string{"doctor", "--json", path})
		if err := json.Unmarshal([]byte(out.String()), &all); err != nil {
			t.Fatalf("%v: %s", err, &out)
		}
		return status, all
	}
	found := func(all []doctor.Finding, check string, level doctor.Level, text string) bool {
		return slices.ContainsFunc(all, func(f doctor.Finding) bool {
			return f.Check == check && f.Level == level && strings.Contains(f.Found, text)
		})
	}
	path, server := chain(t, "")
	status, all := examine(path)
	for check, text := range map[string]string{"path": path, "owner": "serving", "descriptors": "1 sockets", "accept queues": "1 queues", "namespaces": "the same", "seccomp": ""} {
		if !found(all, check, doctor.OK, text) {
			t.Errorf("a server that is well: no %s with %q in %+v", check, text, all)
		}
	}
	if want := map[doctor.Level]int{doctor.OK: exitOK, doctor.Warning: exitWarnings, doctor.Fault: exitFaults}[doctor.Worst(all)]; status != want {
		t.Errorf("status %d, want %d", status, want)
	}
	must(t, server.Process.Signal(unix.SIGSTOP))
	if status, all := examine(path); status != exitSilent || !found(all, "owner", doctor.Fault, "is stopped") {
		t.Errorf("stopped: %d, %+v", status, all)
	}

	small, _ := chain(t, "ulimit -n 50;")
	if status, all := examine(small); status != exitFaults || !found(all, "descriptors", doctor.Fault, "needs 64") {
		t.Errorf("with few descriptors: %d, %+v", status, all)
	}
	away, _ := chain(t, "mkdir gone; cd gone; rmdir ../gone;")
	if status, all := examine(away); status != exitFaults || !found(all, "start", doctor.Fault, "gone") {
		t.Errorf("without its directory: %d, %+v", status, all)
	}
	if os.Geteuid() == 0 {
		must(t, os.Chmod(filepath.Dir(small), 0o777))
		if _, all := examine(small); !found(all, "path", doctor.Warning, "everybody") {
			t.Errorf("in a directory of everybody's: %+v", all)
		}
		cmd := exec.Command("/proc/self/exe", "doctor", small)
		cmd.Env = append(os.Environ(), envRole+"=segue")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: ordinary}
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != exitForbidden {
			t.Errorf("another user: %v\n%s", cmd.ProcessState, out)
		}
	}
}

// TestDoctorFits writes to a terminal: in its width, in color unless NO_COLOR is set; to anything else as it is.
func TestDoctorFits(t *testing.T) {
	all := []doctor.Finding{{Check: "accept queues", Level: doctor.Warning, Found: strings.Repeat("word ", 40), Do: strings.Repeat("do ", 40) + "\x1b[2J"}}
	for _, tt := range []struct {
		terminal
		lines int
	}{{terminal{}, 2}, {terminal{width: 80}, 7}, {terminal{width: 80, color: true}, 7}} {
		var out strings.Builder
		printFindings(&out, all, tt.terminal)
		if n := strings.Count(out.String(), "\n"); n != tt.lines || strings.Contains(out.String(), "\x1b[2J") || strings.Contains(out.String(), "\x1b[33m") != tt.color {
			t.Errorf("%+v: %d lines\n%q", tt.terminal, n, &out)
		}
		for l := range strings.Lines(strings.NewReplacer("\x1b[33m", "", "\x1b[0m", "").Replace(out.String())) {
			if tt.width > 0 && len(strings.TrimSuffix(l, "\n")) > tt.width {
				t.Errorf("%d characters: %s", len(l), l)
			}
		}
	}
}

// TestTerminal looks for colors at a terminal: NO_COLOR and a dumb terminal have none, nor has a file.
func TestTerminal(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must(t, err)
	defer tty.Close()
	file, err := os.Create(t.TempDir() + "/file")
	must(t, err)
	defer file.Close()
	for _, tt := range []struct {
		f             *os.File
		noColor, term string
		color         bool
	}{{tty, "", "xterm", true}, {tty, "1", "xterm", false}, {tty, "", "dumb", false}, {file, "", "xterm", false}} {
		t.Setenv("NO_COLOR", tt.noColor)
		t.Setenv("TERM", tt.term)
		if got := terminalOf(tt.f); got.color != tt.color {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}

// TestDryRun tries a successor ten times in a row; the server serves on, has nothing to complain of, and is upgraded then. Another one
// asks for other sockets, one fails, and one would not know that it is tried.
func TestDryRun(t *testing.T) {
	path, server := chain(t, "")
	exe, err := os.Executable()
	must(t, err)
	try := func(argv ...string) (int, string) {
		var out strings.Builder
		status := (env{stdout: &out, stderr: &out}).run(append([]string{"doctor", "--dry-run", path, "--"}, argv...))
		return status, out.String()
	}
	for range 10 {
		if status, out := try("env", envRole+"=server", exe, "127.0.0.1:0"); status != exitOK || !strings.Contains(out, "it would take tcp/127.0.0.1:0") {
			t.Fatalf("status %d\n%s", status, out)
		}
	}
	if status, out := try("env", envRole+"=server", exe, "127.0.0.2:0"); status != exitWarnings || !strings.Contains(out, "leave, to be closed: tcp/127.0.0.1:0") {
		t.Errorf("another socket: %d\n%s", status, out)
	}
	if status, out := try("env", envRole+"=unknown", exe); status != exitFaults || !strings.Contains(out, "exit status 64") {
		t.Errorf("a program that fails: %d\n%s", status, out)
	}
	if status, out := try("true"); status != exitFailure || !strings.Contains(out, "really take over") {
		t.Errorf("a program without segue: %d\n%s", status, out)
	}
	c := &control.Client{Path: path}
	chain, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := chain.Generations[0]; s.PID != server.Process.Pid || s.Generation != 1 || s.Error != "" || s.Phase != "serving" {
		t.Errorf("after dry runs: %+v", s)
	}
	must(t, c.Upgrade(t.Context(), nil))
	must(t, c.Stop(t.Context()))
	if status, _ := try("env", envRole+"=server", exe, "127.0.0.1:0"); status != exitNobody {
		t.Errorf("nobody is there: %d", status)
	}
}
