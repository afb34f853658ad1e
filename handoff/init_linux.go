package handoff

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/reaper"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/internal/startenv"
)

// becomeInit makes this process, which is PID 1, the one that stays, see Config.Init. It returns only an error.
func becomeInit(c Config) error {
	dir, err := os.MkdirTemp("", "segue-init-")
	if err != nil {
		return fmt.Errorf("this process is PID 1 and needs a directory of its own; set TMPDIR to one that can be written: %w", err)
	}
	defer os.RemoveAll(dir)
	given := supervised{path: c.Path, pidFile: filepath.Join(dir, "pid")}
	origin := spawn.NewOrigin()
	cmd := origin.Command(nil, c.Logger)
	cmd.Env = startenv.PassListen(given.addTo(cmd.Env))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Otherwise PID 1 would end, and the container, when nobody reads its standard error any more (os/signal). Not ignored: the program
	// would inherit that.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE)
	defer signal.Stop(pipe)
	c.Logger.Info("this process is PID 1 and stays; the program runs below it")
	drain := c.DrainTimeout
	if drain < 0 {
		drain = time.Minute
	}
	status, err := reaper.Main(reaper.Options{Cmd: cmd, PIDFile: given.pidFile, Heir: 2 * c.StepTimeout, Drain: drain + c.StepTimeout})
	if err != nil {
		return fmt.Errorf("PID 1 cannot start the program again: %w", err)
	}
	_ = os.RemoveAll(dir)
	os.Exit(status)
	return nil
}
