// Package pidfile keeps a file that names this process.
package pidfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/segue-go/segue/internal/startenv"
)

// Write replaces the file as a whole: a reader sees one process or the other.
func Write(name string) error { return replace(name, line()) }

// Supersede notes in the file that this process is superseded, if it still names it. See startenv.PIDFile.
func Supersede(name string) error {
	if b, err := os.ReadFile(name); err != nil || string(b) != line() {
		return nil
	}
	return replace(name, fmt.Sprintf("%d %s\n", os.Getpid(), startenv.Superseded))
}

func replace(name, line string) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, line)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Remove removes the file if it still names this process.
func Remove(name string) {
	if b, err := os.ReadFile(name); err == nil && string(b) == line() {
		_ = os.Remove(name)
	}
}

func line() string { return fmt.Sprintf("%d\n", os.Getpid()) }
