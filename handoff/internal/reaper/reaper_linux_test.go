package reaper_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/reaper"
)

// envInit makes the test binary PID 1, with this shell command as its program.
const envInit = "SEGUE_TEST_INIT"

func TestMain(m *testing.M) {
	script, ok := os.LookupEnv(envInit)
	if !ok {
		os.Exit(m.Run())
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	status, err := reaper.Main(reaper.Options{Cmd: cmd, PIDFile: filepath.Join(os.TempDir(), "none"), Heir: time.Second, Drain: 100 * time.Millisecond})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 99
	}
	os.Exit(status)
}

// TestStubbornOrphan: PID 1 that is told to end does not wait for an orphan that ignores SIGTERM.
func TestStubbornOrphan(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("missing: root, to make a PID namespace")
		}
		t.Skip("missing: root, to make a PID namespace")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envInit+`=trap "" TERM; sleep 1000 & trap - TERM; echo up; exec sleep 1001`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Errorf("it said %q, %v", line, err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(unix.SIGTERM) {
		t.Errorf("PID 1 has ended with %v", cmd.ProcessState)
	}
}
