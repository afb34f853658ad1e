// Package systemd makes a program of package handoff a service of systemd: it takes its sockets from socket units and from
// the file descriptor store, and tells systemd what is going on, across upgrades.
//
//	gen, err := systemd.Join(ctx, handoff.Config{Path: path, PIDFile: pidFile}, systemd.Options{Logger: log})
//
// Nothing else in the program changes: [handoff.Generation.Listen] finds the sockets, and Ready sends READY=1. Where there is no
// systemd, nothing happens. docs/operations.md has the settings of a unit, and examples/systemd has units.
//
// # Who speaks
//
// systemd listens to the main process only (NotifyAccess=main, the default of Type=notify). That is the first generation until
// its guard after an upgrade is over and it can no longer be revived; then it names its successor by MAINPID, which
// speaks from then on. Until that moment the incumbent says all there is to say, and feeds the watchdog:
//
//	RELOADING=1   an upgrade begins
//	READY=1       the first generation serves; an upgrade has succeeded, or failed
//	MAINPID       the guard is over. Followed by a barrier, so that this process does not end before systemd has read it
//	STOPPING=1    the service stops: the main process ends, and has no successor
//	STATUS        a line, with each of these, and when an upgrade has failed
//
// A process that was not started by a generation, but takes over by its Path, has a NOTIFY_SOCKET of its own unit, or
// none. If the two units differ, the old one stops.
//
// # The file descriptor store
//
// With FileDescriptorStoreMax, sockets that the generation has bound are stored under their names (segue/tcp/%3A8080). After a crash, and
// after systemctl restart, the next process gets them back: clients wait in the queues meanwhile. A socket is removed from
// the store when it is closed, and when the next process does not ask for it by Ready. The path of a Unix socket stays as long as
// the socket is stored, also when the service stops, which this process cannot tell from a restart: let it be in RuntimeDirectory.
// The rendezvous is never stored, nor are files. When a process takes over that is not of this unit, or does not know of the store (tableflip.Rollback), all of them are removed.
package systemd
