// Package startenv has the variables by which a process that starts another one gives it something: sockets by the convention
// of sd_listen_fds(3), and what segue's own processes say to each other. Each name and each rule is here once, for all that
// write or read them.
package startenv

// Variables of segue's own.
const (
	// Handoff tells a successor which descriptor is its end of a socket pair to the incumbent: "number:inode:path".
	Handoff = "SEGUE_HANDOFF"
	// UnitSockets has the cookies (SO_COOKIE, socket(7)) of sockets that belong to a socket unit of systemd, separated by commas.
	UnitSockets = "SEGUE_UNIT_SOCKETS"
	// Rendezvous is the path at which a program without a Config.Path joins.
	Rendezvous = "SEGUE_RENDEZVOUS"
	// PIDFile is a PID file for whoever set Rendezvous, beside that of the program.
	PIDFile = "SEGUE_PIDFILE"
)
