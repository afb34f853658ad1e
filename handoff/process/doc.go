// Package process takes sockets out of a running process, which need not know of it: nginx, a program in Python or Node,
// an old binary in Go. It makes a program's first start with segue a migration that no client notices.
//
//	pid := ... // of nginx, the master
//	src := process.Sockets(pid, process.Options{Signal: syscall.SIGQUIT})
//	defer src.Close()
//	gen, err := handoff.Join(ctx, handoff.Config{Path: path, Sources: []handoff.Source{src}})
//	...
//	all, err := src.List(ctx)
//	...
//	nginxs, err := process.Match(ctx, all, "tcp", ":80") // 0.0.0.0:80 and [::]:80; with reuseport, those of each worker
//	...
//	for range nginxs {
//		ln, err := gen.Listen(ctx, "tcp", ":80") // each time another one
//		...
//		servers = append(servers, serve.HTTP(srv, ln))
//	}
//
// Until Ready, the other process serves on as if nothing were; from then on both accept from one queue, until the other
// one, told by a signal as soon as nothing can be handed back any more, ends in its own way. [Process] has the single steps: what sockets are there, take one, tell the
// process to end.
//
// # What is shared
//
// A socket is taken by pidfd_getfd(2): both processes then have a descriptor of the same open file description
// (open(2)). The queue of connections that wait to be accepted belongs to the socket, so it is not lost when one of
// them closes its descriptor. Status flags are shared too: for Go, a socket must have O_NONBLOCK, which Ready sets (for
// a packet socket already ListenPacket). Servers with an event loop have it set themselves. A process that relies on
// accept(2) to block, such as a simple server in C or Python, gets EAGAIN from its next call, which many take for the end: it
// should be told to end at once. A [Source] logs a warning then, which names the process, and clears the flag again if its
// generation ends before it serves, or hands back. Sockets that are only listed or taken keep their flags.
//
// # What it needs
//
// To look, PTRACE_MODE_READ (/proc/PID/fd), to take, PTRACE_MODE_ATTACH (ptrace(2)): the same user and groups, a process
// that is dumpable, nothing against it from Yama; or CAP_SYS_PTRACE. The errors are those of package fdpass, which name
// the cause: [fdpass.ErrGone], [fdpass.ErrRefused], [fdpass.ErrChanged], and [NoSocketError].
//
// # Masters and workers
//
// The process may be one whose children hold the sockets: all its descendants are looked at, and each socket is found
// once, however many hold it. Of those that may not be looked at, only the number is known ([Process.Refused]). An
// SO_REUSEPORT group has several sockets with one address; a program must listen as often as there are sockets to get them
// all. See [Source].
//
// # Unix sockets
//
// The name of a Unix socket is a file, and some programs remove it when they end in an orderly way: nginx does, and so does
// what Go's net.Listen makes. The socket goes on, but nobody new finds it. Bind such a path anew rather than take it, leave
// the process running, or end it by SIGKILL with Options.Idle.
package process

import (
	"errors"

	"github.com/segue-go/segue/handoff/fdpass"
)

// ErrNoRendezvous means that a process that is to be rescued has no rendezvous of segue, on which successors are awaited. So
// it is some other program that listens there.
var ErrNoRendezvous = errors.New("it holds no rendezvous of segue; look who listens on Config.Path, and end that by hand if need be")

// ErrGone, ErrRefused and ErrChanged are those of package fdpass, for programs that import only this one.
var (
	// ErrGone: the process does not exist any more, or is a zombie, or its number is another's by now.
	ErrGone = fdpass.ErrGone
	// ErrRefused: the kernel does not let this process look at that one, or take its descriptors. The error names the
	// cause, if it was found, and what to do about it.
	ErrRefused = fdpass.ErrRefused
	// ErrChanged: the process closed the socket, or listens no more on it, since it was looked at. Look again.
	ErrChanged = fdpass.ErrChanged
)
