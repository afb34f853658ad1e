// Package supervise is what "segue run" does: it keeps one program running, replaces it without losing its sockets, and is
// fit to be process 1 of a container.
//
// What is to be done is decided by [machine], which has no input or output and no clock (machine.go). The rest carries that
// out: run_linux.go is the loop, start_linux.go starts processes, listen_linux.go has the sockets, notify_linux.go
// and probe_linux.go find out whether a new process is ready, named_linux.go who serves of those that hand over by themselves,
// and upstream_linux.go says what is going on to who has started this process.
package supervise
