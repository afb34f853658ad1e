package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue/internal/startenv"
)

// ending is how long a program has to end by itself when its dry run is over, and again when it is told to.
const ending = 5 * time.Second

// DryRun starts argv as a successor of the process that serves at path. The successor gives up before it takes over, and DryRun
// ends it. Its output goes to output.
func DryRun(ctx context.Context, path string, argv []string, output io.Writer) ([]Finding, error) {
	if !slices.ContainsFunc(argv, knows) {
		return nil, fmt.Errorf("%q is not built with a release of segue that knows dry runs, and would really take over; name the program itself, not a script", argv[0])
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "segue-doctor")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "report")
	ctx, end := context.WithCancel(ctx)
	defer end()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = startenv.Without(os.Environ(), append(startenv.ListenVariables(), startenv.Handoff, startenv.Rendezvous, startenv.PIDFile, startenv.DryRun, "NOTIFY_SOCKET")...)
	cmd.Env = append(cmd.Env, startenv.DryRun+"="+file, startenv.Rendezvous+"="+path)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = ending
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	over := time.Time{}
	for {
		select {
		case err := <-ended:
			b, _ := os.ReadFile(file)
			return judgeDryRun(b, err), nil
		case <-look.C:
			if st, err := os.Stat(file); err == nil && st.Size() > 0 && over.IsZero() {
				over = time.Now()
			}
			if !over.IsZero() && time.Since(over) > ending {
				end()
			}
		}
	}
}

// knows reports whether name is the file of a program that has the name of the variable in it.
func knows(name string) bool {
	path, err := exec.LookPath(name)
	if err != nil {
		return false
	}
	b, err := os.ReadFile(path)
	return err == nil && bytes.HasPrefix(b, []byte("\x7fELF")) && bytes.Contains(b, []byte(startenv.DryRun))
}

// judgeDryRun judges what a program has written until it ended with err.
func judgeDryRun(b []byte, ended error) []Finding {
	const check = "dry run"
	r := &report{}
	for line := range bytes.Lines(b) {
		var d startenv.DryReport
		if err := json.Unmarshal(line, &d); err != nil {
			r.fault(check, "what the program found cannot be read: "+err.Error(), "try again")
			continue
		}
		if d.Error != "" {
			r.fault(check, "a handoff from process "+fmt.Sprint(d.Incumbent)+" would fail: "+d.Error, "see the log of both")
			continue
		}
		r.ok(check, "it would take %s", list(d.Taken))
		if len(d.New) > 0 {
			r.ok(check, "it has bound itself %s", list(d.New))
		}
		if len(d.Left) > 0 {
			r.warn(check, "it would leave, to be closed: "+list(d.Left), "see whether the new version is meant to do without them: names, networks and addresses must be the same")
		}
		if !d.Checked {
			r.warn(check, "the process that serves is of a release that knows no dry runs: it has not compared what came", "nothing; it is compared at each upgrade")
		}
	}
	if len(r.all) == 0 {
		if ended == nil {
			ended = errors.New("exit status 0")
		}
		r.fault(check, fmt.Sprintf("the program ended (%v) before it could take over", ended), "see what it has printed")
	}
	return r.all
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
