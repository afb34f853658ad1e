package startenv

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// FirstFD is the number of the first descriptor, SD_LISTEN_FDS_START of sd_listen_fds(3).
const FirstFD = 3

// maxFDs bounds LISTEN_FDS: nobody has more (fs.nr_open, by default).
const maxFDs = 1 << 20

const (
	listenFDs     = "LISTEN_FDS"
	listenNames   = "LISTEN_FDNAMES"
	listenPID     = "LISTEN_PID"
	listenPidFDID = "LISTEN_PIDFDID"
)

// ListenVariables belong to one process. Who has read them removes them, so that no other process takes them for its own.
func ListenVariables() []string { return []string{listenFDs, listenNames, listenPID, listenPidFDID} }

// Listen is what the variables say to this process.
type Listen struct {
	// Names has one for each descriptor, from FirstFD on; "unknown" where the variables have none, as sd_listen_fds(3) says.
	Names []string
	// Foreign: there are descriptors, but for another process, such as an ancestor. PID is what LISTEN_PID says.
	Foreign bool
	PID     string
}

// TakeListen reads the variables and removes them. It does not look at the descriptors. An error is a contradiction in what is
// meant for this process.
func TakeListen() (Listen, error) {
	env := map[string]string{}
	for _, name := range ListenVariables() {
		if v, ok := os.LookupEnv(name); ok {
			env[name] = v
			if err := os.Unsetenv(name); err != nil {
				return Listen{}, err
			}
		}
	}
	pid := os.Getpid()
	if parent, ok := os.LookupEnv(ListenParent); ok {
		if err := os.Unsetenv(ListenParent); err != nil {
			return Listen{}, err
		}
		if parent == strconv.Itoa(os.Getppid()) {
			pid = os.Getppid()
		}
	}
	return meant(env, pid, func() (uint64, error) { return PidFDID(pid) })
}

// PassListen returns environ for a process that this one starts and that is to have, in its place, the descriptors that came with the
// LISTEN_ variables. They stay open by their numbers.
func PassListen(environ []string) []string {
	return append(Without(environ, ListenParent), ListenParent+"="+strconv.Itoa(os.Getpid()))
}

// meant decides for whom the variables are.
func meant(env map[string]string, pid int, pidFDID func() (uint64, error)) (Listen, error) {
	fds, ok := env[listenFDs]
	if !ok {
		return Listen{}, nil
	}
	foreign := Listen{Foreign: true, PID: env[listenPID]}
	if id, ok := env[listenPidFDID]; ok {
		want, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return Listen{}, fmt.Errorf("%s=%q is no number", listenPidFDID, id)
		}
		if own, err := pidFDID(); err == nil && own != want {
			return foreign, nil
		}
	}
	p, ok := env[listenPID]
	if !ok {
		return foreign, nil // as for sd_listen_fds(3)
	}
	if want, err := strconv.Atoi(p); err != nil || want <= 0 {
		return Listen{}, fmt.Errorf("%s=%q is no process id", listenPID, p)
	} else if want != pid {
		return foreign, nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > maxFDs {
		return Listen{}, fmt.Errorf("%s=%q is no number of descriptors", listenFDs, fds)
	}
	if n == 0 {
		return Listen{}, nil
	}
	value, set := env[listenNames]
	if !set {
		return Listen{Names: slices.Repeat([]string{"unknown"}, n)}, nil
	}
	names := strings.Split(value, ":")
	if len(names) != n {
		return Listen{}, fmt.Errorf("%s=%q has %d names, and %s says %d; both must come from who started this process",
			listenNames, value, len(names), listenFDs, n)
	}
	return Listen{Names: names}, nil
}

// WithListen returns environ with these variables for a process that gets descriptors with these names, and without those of
// anybody else. With pid 0, LISTEN_PID is missing, which only the process itself can set then, by WithPID. Without names there
// are no variables.
func WithListen(environ []string, pid int, names []string) []string {
	environ = Without(environ, ListenVariables()...)
	if len(names) == 0 {
		return environ
	}
	environ = append(environ, listenFDs+"="+strconv.Itoa(len(names)), listenNames+"="+strings.Join(names, ":"))
	return withPID(environ, pid)
}

// WithPID returns environ with LISTEN_PID, if that has descriptors.
func WithPID(environ []string, pid int) []string {
	if !slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, listenFDs+"=") }) {
		return environ
	}
	return withPID(Without(environ, listenPID, listenPidFDID), pid)
}

func withPID(environ []string, pid int) []string {
	if pid == 0 {
		return environ
	}
	return append(environ, listenPID+"="+strconv.Itoa(pid))
}

// Without returns a copy of environ without the variables of these names.
func Without(environ []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(names, name)
	})
}
