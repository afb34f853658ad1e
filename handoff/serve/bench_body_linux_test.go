package serve

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// bodyReaders are handlers that read a body in small pieces, and answer how many lines, records or values there were.
var bodyReaders = map[string]func(io.Reader) (int, error){
	"scanner": func(r io.Reader) (n int, _ error) {
		s := bufio.NewScanner(r)
		for s.Scan() {
			n++
		}
		return n, s.Err()
	},
	"csv": func(r io.Reader) (n int, _ error) {
		c := csv.NewReader(r)
		c.ReuseRecord = true
		for {
			if _, err := c.Read(); err == io.EOF {
				return n, nil
			} else if err != nil {
				return n, err
			}
			n++
		}
	},
	"json": func(r io.Reader) (n int, _ error) {
		d := json.NewDecoder(r)
		for {
			var v int
			if err := d.Decode(&v); err == io.EOF {
				return n, nil
			} else if err != nil {
				return n, err
			}
			n++
		}
	},
}

// upload returns a request with this body, in chunks as net/http's client makes them, or not.
func upload(body []byte, chunked bool) []byte {
	if !chunked {
		return fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	b := []byte("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		n := min(len(body), 32<<10)
		b = fmt.Appendf(b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return append(b, "0\r\n\r\n"...)
}

// How fast bodies of short lines are read, while connections depart and while they do not.
func BenchmarkBody(b *testing.B) {
	const size = 8 << 20
	for _, line := range []string{"1234567890123456789\n", "1\n"} {
		body := bytes.Repeat([]byte(line), size/len(line))
		for _, name := range []string{"scanner", "csv", "json"} {
			for _, chunked := range []bool{false, true} {
				for _, departs := range []bool{false, true} {
					b.Run(fmt.Sprintf("%d/%s/chunked=%t/departs=%t", len(line), name, chunked, departs), func(b *testing.B) {
						nodes := make(chan *node, 1)
						n := newNode(b, "tcp", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if departs {
								n := <-nodes
								n.Depart(nowhere{})
								nodes <- n
							}
							got, err := bodyReaders[name](r.Body)
							fmt.Fprint(w, got, err)
						})}, false)
						nodes <- n
						client := newClient(b, n.dial())
						request := upload(body, chunked)
						b.SetBytes(size)
						for b.Loop() {
							if _, err := client.Write(request); err != nil {
								b.Fatal(err)
							}
							if got, _ := client.receive(); got != fmt.Sprint(size/len(line), nil) {
								b.Fatalf("answer %q", got)
							}
						}
					})
				}
			}
		}
	}
}
