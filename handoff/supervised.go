package handoff

import (
	"os"
	"slices"
	"strings"

	"github.com/segue-go/segue/internal/startenv"
)

// The environment in which a supervisor, such as "segue run", starts a program that is to hand over below it.
const (
	// envRendezvous is the Path of the Generation whose Config.Path is empty.
	envRendezvous = startenv.Rendezvous
	// envPIDFile is one more PID file for the Generation on that Path, beside Config.PIDFile. The supervisor learns from it
	// who serves, since only its first process is its own choice.
	envPIDFile = startenv.PIDFile
)

// supervised is what the environment says to one Generation. The zero value: nothing.
type supervised struct{ path, pidFile string }

// supervisor returns what the environment says to a Generation on path.
func supervisor(path string) supervised {
	s := supervised{path: os.Getenv(envRendezvous), pidFile: os.Getenv(envPIDFile)}
	if path != "" && path != s.path {
		return supervised{} // it is for another Generation of this process, or for nobody
	}
	return s
}

// take removes the variables from the environment, so that what this process starts does not take them for its own. Successors
// get them, see addTo.
func (s supervised) take() error {
	if s == (supervised{}) {
		return nil
	}
	if err := os.Unsetenv(envRendezvous); err != nil {
		return err
	}
	return os.Unsetenv(envPIDFile)
}

// addTo returns the environment of a successor.
func (s supervised) addTo(env []string) []string {
	if s == (supervised{}) {
		return env
	}
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		return strings.HasPrefix(v, envRendezvous+"=") || strings.HasPrefix(v, envPIDFile+"=")
	})
	if s.path != "" {
		env = append(env, envRendezvous+"="+s.path)
	}
	if s.pidFile != "" {
		env = append(env, envPIDFile+"="+s.pidFile)
	}
	return env
}
