package handoff

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func (g *Generation) removePIDFile() {
	name := g.cfg.PIDFile
	if name == "" {
		return
	}
	if b, err := os.ReadFile(name); err == nil && string(b) == pidLine() {
		_ = os.Remove(name)
	}
}

func pidLine() string { return fmt.Sprintf("%d\n", os.Getpid()) }

// writePIDFile replaces the PID file as a whole: who reads it sees one process or the other.
func (g *Generation) writePIDFile() {
	name := g.cfg.PIDFile
	if name == "" {
		return
	}
	err := func() error {
		f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
		if err != nil {
			return err
		}
		_, err = io.WriteString(f, pidLine())
		err = errors.Join(err, f.Chmod(0o644), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), name)
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
		return err
	}()
	if err != nil {
		g.log.Error("the PID file was not written", "path", name, "error", err)
	}
}
