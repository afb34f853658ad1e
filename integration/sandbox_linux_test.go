package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/load"
)

// envSandbox is set within the sandbox: the directory with what was built for it.
const envSandbox = "SEGUE_TEST_SANDBOX"

// sandboxed runs the test that calls it again, under a systemd that was booted for it, and reports whether this is that run. The caller
// returns otherwise.
func sandboxed(t *testing.T) bool {
	t.Helper()
	if os.Getenv(envSandbox) != "" {
		return true
	}
	if missing := sandboxMissing(); missing != "" {
		skipOrFail(t, missing)
	}
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, source := range map[string]string{"app": "../examples/systemd", "segue": "../cmd/segue"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, name), source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", build.Args, err, out)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "testdata/systemd-sandbox", exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=150s")
	cmd.Env = append(os.Environ(), envSandbox+"="+dir, "TMPDIR=/tmp")
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) } // it ends what it has booted
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Errorf("under systemd: %v\n%s", err, &out)
	}
	return false
}

// sandboxMissing names what the sandbox needs and this machine has not.
func sandboxMissing() string {
	if os.Getuid() != 0 {
		return "root, to make namespaces"
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		return "systemd (apt-get install systemd)"
	}
	for _, tool := range []string{"bash", "unshare", "nsenter", "systemctl", "journalctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool
		}
	}
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(b, []byte("overlay")) {
		return "overlayfs in the kernel"
	}
	return ""
}

// skipOrFail skips a test for want of something. On a machine that is meant to have everything, it fails.
func skipOrFail(t *testing.T, missing string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("missing: " + missing)
	}
	t.Skip("missing: " + missing)
}

// service is the unit app, within the sandbox.
type service struct {
	t    *testing.T
	addr string
}

// newService installs the units of examples/systemd, changed by edit, which gets what has to be found and what to put there in turn.
func newService(t *testing.T, edit ...string) *service {
	t.Helper()
	s := &service{t: t, addr: "127.0.0.1:8080"}
	s.install("app")
	tool, err := os.ReadFile(filepath.Join(os.Getenv(envSandbox), "segue"))
	if err == nil {
		err = os.WriteFile("/usr/local/bin/segue", tool, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app.service", "app.socket"} {
		b, err := os.ReadFile(filepath.Join("../examples/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if name == "app.service" {
			for i := 0; i+1 < len(edit); i += 2 {
				if !strings.Contains(text, edit[i]) {
					t.Fatalf("%s has no %q", name, edit[i])
				}
				text = strings.ReplaceAll(text, edit[i], edit[i+1])
			}
		}
		if err := os.WriteFile("/etc/systemd/system/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.systemctl("daemon-reload")
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("journalctl", "--no-pager", "-o", "short-precise", "-u", "app.service").CombinedOutput()
			t.Logf("the journal:\n%s", out)
			out, _ = exec.Command("systemctl", "--no-pager", "status", "app.service").CombinedOutput()
			t.Logf("%s", out)
		}
		_ = exec.Command("systemctl", "stop", "app.socket", "app.service").Run()
	})
	return s
}

// install replaces the program of the unit, as a package manager does.
func (s *service) install(name string) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(os.Getenv(envSandbox), name))
	if err == nil {
		s.replace(b)
	} else {
		s.t.Fatal(err)
	}
}

// keep installs the program under another name, too.
func (s *service) keep(name string) {
	s.t.Helper()
	b, err := os.ReadFile("/usr/local/bin/app")
	if err == nil {
		err = os.WriteFile("/usr/local/bin/"+name, b, 0o755)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) replace(program []byte) {
	s.t.Helper()
	err := os.WriteFile("/usr/local/bin/app.new", program, 0o755)
	if err == nil {
		err = os.Rename("/usr/local/bin/app.new", "/usr/local/bin/app")
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// try runs systemctl, and returns what it printed.
func (s *service) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (s *service) systemctl(args ...string) {
	s.t.Helper()
	if out, err := s.try(args...); err != nil {
		s.t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// show returns a property of the unit.
func (s *service) show(property string) string {
	s.t.Helper()
	out, err := s.try("show", "--value", "-p", property, "app.service")
	if err != nil {
		s.t.Fatalf("systemctl show: %v\n%s", err, out)
	}
	return out
}

func (s *service) mainPID() int {
	n, _ := strconv.Atoi(s.show("MainPID"))
	return n
}

// becomes waits until a property has a value.
func (s *service) becomes(property, want string) {
	s.t.Helper()
	await(s.t, property+"="+want, func() bool { return s.show(property) == want })
}

// ask returns the process that answers, on a connection of its own.
func (s *service) ask() (int, error) { return s.askAt("tcp", s.addr, "/") }

func (s *service) askAt(network, address, path string) (int, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	c := http.Client{Transport: tr, Timeout: patience}
	r, err := c.Get("http://app" + path)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d: %w", r.StatusCode, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// another waits until a process answers that is none of those.
func (s *service) another(not ...int) (pid int) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("a process other than %v", not), func() bool {
		n, err := s.ask()
		for _, old := range not {
			if n == old {
				return false
			}
		}
		pid = n
		return err == nil
	})
	return pid
}

// reload replaces the main process, and waits until systemd knows the next one as that.
func (s *service) reload() int {
	s.t.Helper()
	old := s.mainPID()
	s.systemctl("reload", "app")
	pid := s.another(old)
	s.becomes("MainPID", strconv.Itoa(pid))
	return pid
}

// crowd is clients that never connect again.
func (s *service) crowd() *load.Load {
	s.t.Helper()
	l, err := load.Start(s.t.Context(), load.Options{Address: s.addr, New: 2, Kept: 2, Idle: 20})
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// unharmed ends a load, and fails the test for each request that got no answer.
func (s *service) unharmed(l *load.Load) {
	s.t.Helper()
	l.Stop()
	r := l.Wait()
	if err := r.Err(); err != nil {
		s.t.Errorf("%v", err)
	}
}

// queue connects clients one after the other until stop is called, each with one request, and returns how many were answered, and
// the errors of the others.
func (s *service) queue(network, address string) (stop func() (int, []error)) {
	quit, done := make(chan struct{}), make(chan struct{})
	var answered int
	var errs []error
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
			}
			if _, err := s.askAt(network, address, "/"); err != nil {
				errs = append(errs, err)
			} else {
				answered++
			}
		}
	}()
	return func() (int, []error) {
		close(quit)
		<-done
		return answered, errs
	}
}

// gone fails the test unless nothing is left of the unit.
func (s *service) gone() {
	s.t.Helper()
	if got := s.show("ActiveState"); got != "inactive" {
		s.t.Errorf("the unit is %s", got)
	}
	if b, err := os.ReadFile("/sys/fs/cgroup/system.slice/app.service/cgroup.procs"); err == nil && len(b) > 0 {
		s.t.Errorf("processes are left: %q", b)
	}
	// With DynamicUser, systemd 252 leaves a link that leads nowhere.
	if left, err := os.ReadDir("/run/app/"); !errors.Is(err, os.ErrNotExist) {
		s.t.Errorf("in /run/app are left: %v, %v", left, err)
	}
	if _, err := s.ask(); !errors.Is(err, unix.ECONNREFUSED) {
		s.t.Errorf("somebody still has the port: %v", err)
	}
}
