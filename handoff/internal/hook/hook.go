// Package hook is how a package of segue beside handoff follows a generation more closely than a Trace does, and delays it where
// it must. A handoff.Source that is an [Observer] as well is told.
package hook

import "syscall"

// Socket is a listener or a packet socket of a generation.
type Socket struct {
	Name string
	// Conn says which it is: sockets of one SO_REUSEPORT group have one name and one address. It may be duplicated by
	// listener.Dup until Closed is called or the phase is stopped.
	Conn syscall.Conn
}

// Successor is the process that has taken over.
type Successor struct {
	PID     int  // as seen in this process's namespace; 0 if it has no number there, or is not known
	Foreign bool // it does not speak segue's protocol: see UpgradeTo
}

// Observer is told of what happens, by several goroutines, synchronously: what it takes delays the generation. Driver.mu is not held. It
// must not call the generation's methods all the same: Keeps is called while Driver.stopping is held, for which Close waits.
type Observer interface {
	// Opened is called when the generation has got a socket: it was bound, or came from a Source or the predecessor.
	Opened(Socket)
	// Closed is called when a socket is closed for good, by the program or because the successor did not ask for it or has
	// closed it, but not for each socket when the generation ends.
	Closed(Socket)
	// Keeps is asked for each socket when the generation ends as its owner, before its phase is stopped: whether somebody else
	// goes on to have it, so that the path of a Unix socket stays.
	Keeps(Socket) bool
	// Released is called, at most once for a successor, when the generation gives up that it could be revived: before it closes
	// its copies of the sockets, before the successor hears of it, and before Wait can return. A generation that is closed while
	// it could still be revived gives that up too, before its phase is stopped. The successor may have ended by then.
	Released(Successor)
	// Failed is called when an attempt to hand over has failed, with what Status then has as LastError. The phase may be said
	// before or after.
	Failed(error)
}

// Replacer is a handoff.Source of sockets that come from the process whose place this one takes.
type Replacer interface {
	// Replaces reports whether there is such a process. If it was the main process of its unit of systemd, this one is that next,
	// although it was not started as segue starts successors.
	Replaces() bool
}
