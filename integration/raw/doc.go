// Package raw asks a server in ways that HTTP/1.1 allows and libraries do not: bursts of pipelined requests, requests
// that come byte by byte, bodies that nobody reads, connections that say nothing for long or have said half a word. Each
// client has one connection, which it never makes anew: it exists to find out whether a connection lives through
// upgrades, and whether each request on it is answered once, in order, and by the right answer.
//
//	run, err := raw.Start(ctx, raw.Options{Address: addr, Clients: 3})
//	...
//	run.Strike()   // something happens at the server: what waits for such a moment goes on
//	run.Upgraded() // an upgrade is complete: what waits for a number of them counts it
//	...
//	run.Stop()
//	res := run.Wait()
//	if err := res.Err(); err != nil { // what failed first, where and when
//		t.Error(err)
//	}
//
// The server answers with status 200, the header X-Token and a body that contains the token: GET and HEAD
// /token?token=T; GET /slow?ms=N&token=T, after that many milliseconds, whether or not the client has closed its half;
// POST /upload?token=T, with the number of bytes and their SHA-256 in hex; POST /unread?token=T, without having read
// anything. It may name itself in the header X-Segue-Pid, and may write each token that it handles to a file, so that
// [Handled] finds what was handled twice or by another than the one that answered.
//
// The package depends on nothing of segue, so that it can judge any server.
package raw
