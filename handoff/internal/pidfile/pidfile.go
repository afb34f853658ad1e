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
	p, err := prepare(name, line)
	if err != nil {
		return err
	}
	return p.Put()
}

// Prepared is a file beside the PID file that is to replace it: there is room for it. The owner calls Put, or Drop.
type Prepared struct{ temp, name string }

// Prepare makes what Write would put in the place of the file.
func Prepare(name string) (*Prepared, error) { return prepare(name, line()) }

func prepare(name, line string) (*Prepared, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(f, line)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return nil, err
	}
	return &Prepared{f.Name(), name}, nil
}

// Put replaces the PID file.
func (p *Prepared) Put() error {
	err := os.Rename(p.temp, p.name)
	if err != nil {
		p.Drop()
	}
	return err
}

// Drop removes what was prepared.
func (p *Prepared) Drop() { _ = os.Remove(p.temp) }

// Remove removes the file if it still names this process.
func Remove(name string) {
	if b, err := os.ReadFile(name); err == nil && string(b) == line() {
		_ = os.Remove(name)
	}
}

func line() string { return fmt.Sprintf("%d\n", os.Getpid()) }
