package integration

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSystemdStorm reloads, restarts and kills the service at random, in whatever state it is: clients at its TCP and its Unix socket
// are never refused, each reload that returns well has replaced the process, and in the end one process serves, which systemd knows.
func TestSystemdStorm(t *testing.T) {
	if !sandboxed(t) {
		return
	}
	s := newService(t, "-stop-timeout 10s", "-unix /run/app/http.sock -guard 300ms -stop-timeout 1s",
		"[Service]", "StartLimitIntervalSec=0\n[Service]") // it is killed more often than systemd would have it
	s.systemctl("start", "app")
	queues := []func() (int, []error){s.queue("tcp", s.addr), s.queue("unix", "/run/app/http.sock")}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	reloads, kills := 0, 0
	for deadline := time.Now().Add(45 * time.Second); time.Now().Before(deadline); {
		switch random.IntN(10) {
		case 0: // whoever it is: the main process, an old one, a new one
			b, _ := os.ReadFile("/sys/fs/cgroup/system.slice/app.service/cgroup.procs")
			if pids := strings.Fields(string(b)); len(pids) > 0 {
				pid, _ := strconv.Atoi(pids[random.IntN(len(pids))])
				_ = unix.Kill(pid, unix.SIGKILL)
				kills++
			}
		case 1:
			s.systemctl("restart", "app")
		default:
			if _, err := s.try("reload", "app"); err == nil {
				reloads++
			}
		}
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond) // at random, that is
	}
	await(t, "the service to be as it should", func() bool {
		n, err := s.ask()
		return err == nil && n == s.mainPID() && s.show("ActiveState") == "active"
	})
	for i, stop := range queues {
		answered, errs := stop()
		for _, err := range errs { // what a dead process had accepted dies with it
			if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
				t.Errorf("queue %d: %v", i, err)
			}
		}
		t.Logf("queue %d: %d answered, %d lost", i, answered, len(errs))
	}
	t.Logf("%d reloads, %d kills", reloads, kills)
	s.reload()
	s.systemctl("stop", "app")
	s.gone()
}
