package serve

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// counting counts the reads of a body, once depart is called: at a third of it.
type counting struct {
	r      io.Reader
	depart func()
	at     int
	n      int
	reads  int
}

func (c *counting) Read(p []byte) (int, error) {
	if c.depart != nil && c.n >= c.at {
		c.depart()
		c.depart, c.n = nil, 0
	}
	n, err := c.r.Read(p)
	if c.n += n; c.depart == nil {
		c.reads++
	}
	return n, err
}

// While connections depart, a body of short lines is read at full speed, and the connection moves at its end, also if
// there is another request behind it.
func TestBodyWhileDeparting(t *testing.T) {
	const size = 48 << 10 // fits into the buffers of the sockets
	pieces := func(body string, n int) string {
		var b strings.Builder
		for ; body != ""; body = body[min(n, len(body)):] {
			p := body[:min(n, len(body))]
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(p), p)
		}
		return b.String()
	}
	lf, crlf, short := strings.Repeat("1234567890123456789\n", size/20), strings.Repeat("0,3456789012345678\r\n", size/20), strings.Repeat("1\n", size/2)
	const coded = "Transfer-Encoding: chunked\r\n"
	for _, tt := range []struct {
		name, head, body string
		lines            int
		slow             bool // if it is not known where the body begins
	}{
		{"length", fmt.Sprintf("Content-Length: %d\r\n", len(lf)), lf, size / 20, false},
		{"length of two bytes a line", fmt.Sprintf("Content-Length: %d\r\n", len(short)), short, size / 2, false},
		{"large chunks", coded, pieces(lf, 10_000) + "0\r\n\r\n", size / 20, false},
		{"two bytes a line", coded, pieces(short, 10_000) + "0\r\n\r\n", size / 2, false},
		{"a chunk for each line", coded, pieces(lf, 20) + "0;last\r\n\r\n", size / 20, false},
		{"lines that look like the last chunk", coded, pieces(crlf, 20) + "000\r\n\r\n", size / 20, true},
		{"trailer", coded + "Trailer: T\r\n", pieces(lf, 20) + "0\r\nT: 1\r\n\r\n", size / 20, false},
	} {
		for before, first := range map[string]string{
			"alone":     "",
			"after":     fmt.Sprintf(get, "/first"),
			"pipelined": fmt.Sprintf(get, "/first"),
		} {
			if before == "pipelined" && tt.slow {
				continue
			}
			t.Run(tt.name+"/"+before, func(t *testing.T) {
				park := newPark(t)
				b := newNode(t, "tcp", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprint(w, "to")
				})}, false)
				nodes := make(chan *node, 1)
				a := newNode(t, "tcp", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodGet {
						fmt.Fprint(w, "from")
						return
					}
					c := &counting{r: r.Body, at: size / 3, depart: func() { (<-nodes).Depart(&ferry{t: t, to: b, park: park}) }}
					s, lines := bufio.NewScanner(c), 0
					for s.Scan() {
						lines++
					}
					fmt.Fprintf(w, "%d lines, %v, %d reads", lines, s.Err(), c.reads)
				})}, false)
				nodes <- a
				client := newClient(t, a.dial())
				write := func(s string) {
					if _, err := io.WriteString(client, s); err != nil {
						t.Fatal(err)
					}
				}
				if before == "after" {
					write(first)
					if name, _ := client.receive(); name != "from" {
						t.Fatalf("first request: %q", name)
					}
					first = ""
				}
				write(first + "POST /lines HTTP/1.1\r\nHost: test\r\n" + tt.head + "\r\n" + tt.body + fmt.Sprintf(get, "/last"))
				if first != "" {
					client.receive()
				}
				got, _ := client.receive()
				var reads int
				if _, err := fmt.Sscanf(got, fmt.Sprintf("%d lines, <nil>, %%d reads", tt.lines), &reads); err != nil {
					t.Fatalf("answer %q, want %d lines", got, tt.lines)
				}
				if name, _ := client.receive(); name != "to" {
					t.Errorf("the request behind the body was answered by %q", name)
				}
				if most := size / 200; reads > most {
					t.Errorf("the body was read in %d pieces, want at most %d", reads, most)
				}
			})
		}
	}
}

// However a chunked body is cut, its end is found, and nothing behind it.
func TestChunks(t *testing.T) {
	for _, body := range []string{
		"0\r\n\r\n",
		"3\r\nabc\r\n0\r\n\r\n",
		"a\r\n\r\n0\r\n\r\n0\r\n\r\n1F\r\n" + strings.Repeat("x", 31) + "\r\n00;a=\"b\"\r\n\r\n",
		"1 \r\nx\r\n0\r\nA: b\r\n\tc\r\nD:\r\n\r\n",
	} {
		for _, size := range []int{1, 2, 3, 7, 1000} {
			var c chunks
			all, n := body+"3\r\nabc\r\n0\r\n\r\n", 0
			for rest := all; rest != ""; {
				piece := rest[:min(size, len(rest))]
				if left := int64(len(body) - n); c.least() > left || c.least() == 0 && left > 0 {
					t.Fatalf("%q by %d: at least %d bytes are to come after %d, and %d are", body, size, c.least(), n, left)
				}
				k := c.pass([]byte(piece))
				if n += k; k < len(piece) {
					break
				}
				rest = rest[k:]
			}
			if n != len(body) || c.at != chunksOver || c.pass([]byte("x")) != 0 {
				t.Errorf("%q by %d: ends after %d bytes, want %d; %+v", body, size, n, len(body), c)
			}
		}
	}
	for _, bad := range []string{"g\r\n", "\r\n", "-1\r\n", strings.Repeat("f", 17) + "\r\n"} {
		var c chunks
		if c.pass([]byte(bad)); c.at != chunkLost || c.least() != 0 {
			t.Errorf("%q: %+v, want lost", bad, c)
		}
	}
}
