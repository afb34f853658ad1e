// Package startenv has the variables by which a process that starts another one gives it something: sockets by the convention
// of sd_listen_fds(3), and what segue's own processes say to each other. Each name and each rule is here once, for all that
// write or read them.
package startenv

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Variables of segue's own.
const (
	// Handoff tells a successor which descriptor is its end of a socket pair to the incumbent: "number:inode:path".
	Handoff = "SEGUE_HANDOFF"
	// UnitSockets has the cookies (SO_COOKIE, socket(7)) of sockets that belong to a socket unit of systemd, separated by commas.
	UnitSockets = "SEGUE_UNIT_SOCKETS"
	// ListenParent says that the LISTEN_ variables, which name this process, are for the one that it starts, which it does not know
	// the number of before. The value is its own.
	ListenParent = "SEGUE_LISTEN_PARENT"
	// Rendezvous is the path at which a program without a Config.Path joins.
	Rendezvous = "SEGUE_RENDEZVOUS"
	// PIDFile is a PID file for whoever set Rendezvous, beside that of the program. It is replaced, by rename(2), by each process
	// of whoever set it that comes to serve, just before that confirms. A process that is superseded while the file names it
	// adds the word Superseded: who has taken over is not of the same supervisor.
	PIDFile = "SEGUE_PIDFILE"
	// DryRun has each generation of the process, and of those that it starts, try to take over and give up before it does. What
	// it would have taken is appended to the file of this name, as a line of JSON: a DryReport.
	DryRun = "SEGUE_DRY_RUN"
)

// Superseded is a word in the file of PIDFile.
const Superseded = "superseded"

// ReadPIDFile returns what the file of PIDFile says.
func ReadPIDFile(name string) (pid int, superseded bool, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, false, err
	}
	f := strings.Fields(string(b))
	if len(f) == 2 && f[1] == Superseded {
		f, superseded = f[:1], true
	}
	if len(f) != 1 {
		return 0, false, fmt.Errorf("%s: %q is no PID file", name, b)
	}
	pid, err = strconv.Atoi(f[0])
	if err == nil && pid <= 0 {
		err = fmt.Errorf("%s: %d is no process id", name, pid)
	}
	return pid, superseded, err
}
