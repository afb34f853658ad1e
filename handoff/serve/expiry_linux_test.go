package serve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that does not complete a header, in time or at all, is told the same, whether its connection has moved or not.
func TestHeaderWithoutEnd(t *testing.T) {
	const request = "GET /begun HTTP/1.1\r\nHost: test\r\nAccept: a\r\n\r\n"
	pieces := []int{0, 1, 3, 4, 10, strings.Index(request, "\r"), strings.Index(request, "Host"), strings.Index(request, "ost"),
		strings.Index(request, " test"), strings.Index(request, "Accept"), strings.Index(request, "ccept"), len(request) - 2}
	for _, limit := range []time.Duration{50 * time.Millisecond, time.Hour} {
		for _, kept := range []bool{false, true} {
			for _, n := range pieces {
				want, got := withoutEnd(t, request, n, kept, false, limit), withoutEnd(t, request, n, kept, true, limit)
				if got != want {
					t.Errorf("after %q (kept: %t, limit: %v): %q with a move, %q without", request[:n], kept, limit, got, want)
				}
			}
		}
	}
}

// withoutEnd sends n bytes of request, behind another one if it is kept, and returns what comes back. If there is time enough,
// the client ends it.
func withoutEnd(t *testing.T, request string, n int, kept, moves bool, limit time.Duration) string {
	own := limit
	if moves {
		own = time.Hour // the time that is left is up where it arrives
	}
	s := func() *http.Server {
		return &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: own, IdleTimeout: own}
	}
	a, b := newNode(t, "tcp", s(), false), newNode(t, "tcp", s(), false)
	c := a.dial()
	defer c.Close()
	r := bufio.NewReader(c)
	write := func(s string) {
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
	}
	if kept {
		write(request)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	write(request[:n])
	park := newPark(t)
	if moves {
		a.only(n)
		a.Depart(&ferry{t: t, to: b, park: park, left: limit})
		await(t, "a move", func() bool { return park.moves.Load() == 1 })
	}
	if limit == time.Hour {
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}
