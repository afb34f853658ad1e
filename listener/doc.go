// Package listener says what a descriptor is, and makes it a Go object again.
//
// It has four parts, which are useful alone and import nothing else of segue:
//
//   - [FD] owns a descriptor that no poller knows, and [Dup] makes one from a live socket without touching the status
//     flags that every holder of the socket shares.
//   - [Describe] asks the kernel what a descriptor is, and [Info.Same] whether two are the same open socket or file.
//   - [Listener], [UDPConn] and [UnixgramConn] can be paused: Accept and the reads then block and return no error, so
//     the server above notices nothing, while the socket is handed to another process.
//   - [UnixPath] removes the file of a Unix socket, but only the one that was recorded at bind.
//
// A listener is in one of four states:
//
//	FromFD --> parked --Arm--> paused <--Pause-- open     parked: a bare descriptor, unknown to the runtime's poller
//	             ^               | | ----Open-->          paused: known to the poller, nobody accepts
//	             +-----Park------+ ^                      open:   Accept accepts
//	                               |
//	                              New                     Close and Discard lead from each of them to closed
//
// On Linux all of it works. Elsewhere a socket that the program bound itself can be paused, opened and closed;
// descriptors cannot be described, parked or rebuilt, and the errors say so with [errors.ErrUnsupported].
package listener
