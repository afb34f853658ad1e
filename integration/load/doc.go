// Package load drives a server with HTTP/1.1 traffic of several kinds and counts everything that goes wrong.
//
// It exists to find out what clients notice of an upgrade, so it forgives nothing: it speaks HTTP/1.1 over bare
// connections, because http.Transport retries by itself what a server dropped; it never sends a request twice; and it
// checks that each answer is the answer to its own request, by a token that only this request carried.
//
//	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
//	defer cancel()
//	res, err := load.Run(ctx, load.Options{Address: addr, New: 2, Kept: 8})
//	...
//	if err := res.Err(); err != nil { // what failed first, where and when
//		t.Error(err)
//	}
//
// The server answers GET /token?token=T and GET /slow?ms=N&token=T with a body that contains T, and POST /upload with
// the number of bytes and their SHA-256 in hex. It may name itself in the header X-Segue-Pid. Handler is one such server,
// examples/http another.
//
// Chat is a load for another kind of server, like examples/chat: users who stay connected, and watch that each line arrives
// at each of them once.
//
// The package depends on nothing of segue, so that it can judge any server.
package load
