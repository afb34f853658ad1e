// Package handoff runs one generation of a server: it takes the sockets over from the process that serves now, serves,
// and hands them to the process that comes next, so that no client notices.
//
// An ordinary server of HTTP or gRPC needs four names of it: [Join], [Config] (its fields Path, Signals and Logger),
// [Generation], and [Generation.Listen]. The function Run of package serve does the rest:
//
//	gen, err := handoff.Join(ctx, handoff.Config{Path: "/run/app/segue.sock", Signals: []os.Signal{syscall.SIGHUP}})
//	...
//	ln, err := gen.Listen(ctx, "tcp", ":8080") // inherited, or bound afresh
//	...
//	err = serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: handler}, ln))
//
// All other names are for servers of other protocols, for state and connections that move, and for who wants to know more.
//
// # A server with its own accept loop
//
// A program calls [Join] once, then [Generation.Listen] for each of its sockets, starts its servers, and calls
// [Generation.Ready], which returns when this generation owns the sockets. [Generation.Wait] then returns when a
// successor has taken over and the last connection is done:
//
//	gen, err := handoff.Join(ctx, handoff.Config{Path: "/run/app/segue.sock", Signals: []os.Signal{syscall.SIGHUP}})
//	if err != nil {
//		return err
//	}
//	defer gen.Close()
//	ln, err := gen.Listen(ctx, "tcp", ":8080") // inherited, or bound afresh
//	if err != nil {
//		return err
//	}
//	go acceptLoop(ln) // Accept blocks until Ready
//	if err := gen.Ready(ctx); err != nil {
//		return err
//	}
//	return gen.Wait(ctx, connections.Wait)
//
// Package serve does the last three steps for programs that run net/http or gRPC.
//
// # Generations
//
// A process is first a successor, then the incumbent, then it drains and ends. A successor is started by
// [Generation.Upgrade] (or a signal of [Config].Signals), or by anyone who starts a program that joins the same
// [Config].Path. The listening sockets themselves travel, by pidfd_getfd(2) or SCM_RIGHTS (unix(7)); they are never bound
// again, and connections that wait in their queues travel with them. At each moment at most one generation owns them: ownership is
// the one unit in an eventfd(2), and a successor owns once it has read it.
//
// From the moment that it lets go until its guard ends, an incumbent keeps its descriptors and takes the sockets back if
// the successor dies. It does not if somebody wished the end: exit status 0, SIGTERM, SIGINT, or [Generation.Close]; nor
// if a section of exact state has moved, unless its [Revival] allows it.
//
// # State
//
// [Generation.State] registers sections of the program's own state, which move within the same transaction: saved while
// nobody serves, or ahead, and restored before the successor owns.
//
// # Live connections
//
// From the moment that a successor has confirmed, live connections move to it too: those of servers that package serve runs,
// by themselves, and any other with [Generation.Give], which the successor gets from [Generation.Take].
//
// # Elsewhere than on Linux
//
// Everything compiles and listens plainly. [Generation.Upgrade] gives an error that is [errors.ErrUnsupported], and
// [Config].Path has no effect.
package handoff
