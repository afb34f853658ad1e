// Package serve runs the servers of a process as one generation: net/http, gRPC and anything else that accepts
// connections or reads packets. It starts them, commits once when all of them wait for connections, drains them all
// when a successor has taken over, goes on when the successor dies and the generation is revived, and ends them when
// nothing is left to do.
//
//	gen, err := handoff.Join(ctx, handoff.Config{Path: "/run/app/segue.sock"})
//	...
//	ln, err := gen.Listen(ctx, "tcp", ":8080")
//	...
//	return serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: mux}, ln))
//
// What may run in one process only, such as a scheduler, is a [Worker].
//
// It is glue over the public calls of package handoff: a program that needs something else calls Ready and Wait
// itself.
//
// # What a client sees of an upgrade
//
// Over HTTP/1.1 without TLS: nothing. An idle connection moves to the successor, which answers the next request on it; so
// does one that is open and has said nothing yet, or not all of a request's header: what net/http had read of it already
// travels along. A request whose header is complete is answered by the old generation, and then its connection moves, also
// if the client has more requests queued. IdleTimeout and ReadHeaderTimeout go on counting where they were. What does not
// move in the midst of a header is one over 16 KiB, and one whose beginning was read together with the body of the request
// before, if the client takes longer than Config.DrainTimeout for the rest.
//
// Over HTTP/1.1 where a connection cannot move (TLS, a listener that wraps the generation's, a successor without room
// or without such a server): a response on it says "Connection: close", at a moment that is another for each
// connection, so that not all clients connect again at once ([Server.Spread]). Every request that reaches the old
// generation is answered, also one that arrives long after the upgrade. Connections on which nothing happens are left
// alone until Config.DrainTimeout. net/http's own Shutdown would close these at once, and would not answer a request
// that it reads from then on; nothing of the kind is called before the generation has ended.
//
// With sections of state that are saved in the gap of the switch (handoff.Section.Save), the requests of all HTTP
// servers wait while they are saved and restored, whatever their listeners are. Those in flight are waited for first,
// while all is served on, and nobody waits for more than a second, or a tenth of Config.StateTimeout, because others
// are not done. If that cannot be achieved in the time, the state does not move, and the error names clients that are
// answered yet.
//
// When the state has moved, a request on a connection that cannot move is not answered here any more. If it is safe,
// without a body and not the first on its HTTP/1.1 connection, the connection ends without an answer, and clients
// repeat it by themselves; so it is with one that accepts server-sent events, which a browser would not ask for again
// after an error, and which over HTTP/2 gets an empty stream and GOAWAY. Any other is answered with status 503,
// Retry-After and Connection: close.
//
// Calls of [GRPC] and [Func] servers are not held. If they change the state, handoff.Section.Hold stops them.
//
// Over HTTP/2: likewise, a response on a connection is preceded by GOAWAY, with which the client opens a new connection
// for its next requests; streams that have begun finish. A request that is on its way when net/http sends GOAWAY is not
// executed, and not answered; GOAWAY tells the client that it may send it again (RFC 9113, section 6.8), and it depends on
// the client whether it does. A connection on which nothing happens gets GOAWAY shortly before Config.DrainTimeout. Clients that connect to an HTTPS server again resume their TLS sessions ([HTTPS]).
//
// Over server-sent events, and other responses without an end: nothing by itself. A handler asks [Draining] when to
// end. Where the connection cannot move, that is at its moment of the spread, so that its client asks once more, is
// told to leave, and goes on with the successor.
//
// Hijacked connections (WebSocket, tunnels of a ReverseProxy and the like) are the program's. They end with the process,
// unless [Server.WaitHijacked] has it wait for them; how many are cut is in the log. A program that wants them to end well
// closes them itself, for instance in a [Func] server's drain function, or gives them away (handoff.Generation.Give). The
// same is true of golang.org/x/net/http2/h2c, which hijacks; set http.Server.Protocols instead to serve HTTP/2
// without TLS.
package serve
