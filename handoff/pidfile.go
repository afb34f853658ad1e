package handoff

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

func (g *Generation) removePIDFile() {
	for _, name := range g.pidFiles() {
		if b, err := os.ReadFile(name); err == nil && string(b) == pidLine() {
			_ = os.Remove(name)
		}
	}
}

// pidFiles are those of the program, and of its supervisor.
func (g *Generation) pidFiles() []string {
	return slices.DeleteFunc([]string{g.cfg.PIDFile, g.supervised.pidFile}, func(name string) bool { return name == "" })
}

func pidLine() string { return fmt.Sprintf("%d\n", os.Getpid()) }

// writePIDFile replaces each PID file as a whole: who reads it sees one process or the other.
func (g *Generation) writePIDFile() {
	for _, name := range g.pidFiles() {
		if err := replacePIDFile(name); err != nil {
			g.log.Error("the PID file was not written", "path", name, "error", err)
		}
	}
}

func replacePIDFile(name string) error {
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
}
