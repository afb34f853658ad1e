package supervise

import (
	"log/slog"
	"os"
	"syscall"
	"time"
)

// Socket is one that COMMAND gets.
type Socket struct{ Name, Network, Address string }

// Ready says how a new process is found to be ready. At most one of its ways is set. A program that joins
// the rendezvous is ready when it has confirmed there, whatever this says.
type Ready struct {
	Joined  bool          // it has to join the rendezvous
	Notify  bool          // it says READY=1 (sd_notify(3))
	Probe   bool          // it has accepted a connection to Address, a host:port of TCP, which is needed then
	Address string        // see Probe
	Path    string        // and has answered GET of this path there with a status below 400; "": a connection suffices
	Delay   time.Duration // it lives for so long; READY=1 ends the wait early
}

// Options say what to run. Argv and LookPath are needed.
type Options struct {
	Argv []string // of COMMAND
	// LookPath finds the file of COMMAND, anew for each start. An error of it has the exit status that Status tells.
	LookPath func(name string) (string, error)
	Status   func(err error) int
	// Self is the program and the first arguments that, followed by the number of a descriptor, a path and argv, set LISTEN_PID and execute
	// that. The descriptor is closed by execve(2); if that fails, a byte is written to it first.
	Self []string

	Listen     []Socket
	Rendezvous string // "": one of its own
	Ready      Ready

	ReadyTimeout time.Duration  // a process that is not ready by then is ended
	DrainSignal  syscall.Signal // for the old process, if it does not hand over by itself; 0: SIGTERM
	DrainTimeout time.Duration  // which is killed after that
	StopTimeout  time.Duration  // so long after SIGTERM what is left is killed
	Restarts     int            // so many failures in a row are answered by a new start

	Stay      bool   // when COMMAND has ended with status 0, wait for SIGTERM
	ReadyFile string // is there while COMMAND serves; "": none

	Signals chan os.Signal // what Signals has returned; nil: Run calls it

	Stdout, Stderr *os.File // of COMMAND
	Log            *slog.Logger
}
