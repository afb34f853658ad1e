// Package supervise is what "segue run" does: it keeps one program running, replaces it without losing its sockets, and is
// fit to be process 1 of a container.
//
// The type machine (machine.go) decides what to do. It has no input or output and no clock. The other files carry its decisions out:
//
//	standing.go        how things are, for who wants to know
//	run_linux.go       the loop
//	start_linux.go     starts processes
//	listen_linux.go    has the sockets
//	notify_linux.go    learns by sd_notify that a new process is ready
//	probe_linux.go     learns the same by a connection or a request
//	named_linux.go     learns which process serves, of programs that hand over by themselves
//	group_linux.go     knows which processes belong to one that was started
//	outbox.go          writes without making the loop wait
//	upstream_linux.go  tells the process that started this one, such as systemd, what is going on
package supervise
