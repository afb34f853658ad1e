package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// bodyReaders are ways in which handlers read a body in small pieces. Each returns how many there were.
var bodyReaders = []struct {
	name, path string
	read       func(io.Reader) (int, error)
}{
	{"bufio.Scanner", "/scanner", func(r io.Reader) (n int, _ error) {
		s := bufio.NewScanner(r)
		for s.Scan() {
			n++
		}
		return n, s.Err()
	}},
	{"csv.NewReader", "/csv", func(r io.Reader) (n int, err error) {
		c := csv.NewReader(r)
		for c.ReuseRecord = true; err == nil; n++ {
			_, err = c.Read()
		}
		return n - 1, ended(err)
	}},
	{"json.Decoder", "/json", func(r io.Reader) (n int, err error) {
		var v int64
		d := json.NewDecoder(r)
		for ; err == nil; n++ {
			err = d.Decode(&v)
		}
		return n - 1, ended(err)
	}},
}

// ended is err, unless that is the end.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// handleBodies answers to each body with status 200 if it has as many lines as it should.
func handleBodies(mux *http.ServeMux) {
	for _, b := range bodyReaders {
		mux.HandleFunc(b.path, func(w http.ResponseWriter, r *http.Request) {
			n, err := b.read(r.Body)
			if err != nil || n != bodyLines {
				http.Error(w, fmt.Sprintf("%d lines, %v", n, err), http.StatusBadRequest)
				return
			}
			_, _ = io.WriteString(w, "ok\n")
		})
	}
}

const (
	bodyLine  = "1234567890123456789\n"
	bodyLines = 1_000_000
	bodySize  = bodyLines * len(bodyLine)
	chunkSize = 32 << 10 // that of net/http's client
)

func bytesPerSecond(v float64) string { return fmt.Sprintf("%.0f MB/s", v/1e6) }

// bodies is about requests whose body is read while connections depart: by an incumbent whose successor serves.
func bodies(ctx context.Context, o options, dir string) ([]figure, error) {
	plain := bytes.Repeat([]byte(bodyLine), bodyLines)
	var coded []byte
	for rest := plain; len(rest) > 0; rest = rest[min(len(rest), chunkSize):] {
		piece := rest[:min(len(rest), chunkSize)]
		coded = fmt.Appendf(coded, "%x\r\n%s\r\n", len(piece), piece)
	}
	coded = append(coded, "0\r\n\r\n"...)

	var figures []figure
	var kinds []upload
	for _, b := range bodyReaders {
		for _, u := range []upload{
			{b.path, fmt.Sprintf("Content-Length: %d", len(plain)), plain},
			{b.path, "Transfer-Encoding: chunked", coded},
		} {
			kinds = append(kinds, u)
			name := fmt.Sprintf("a body of %d-byte lines, %s, while departing beside not", len(bodyLine), b.name)
			if len(kinds)%2 == 0 {
				name = "  chunked"
			}
			figures = append(figures, figure{name: name, unit: bytesPerSecond, aim: aim{by: atLeast, limit: 0.9, text: "≥ 0.9"}})
		}
	}
	path := filepath.Join(dir, "bodies")
	p, r, err := start(ctx, "http", path)
	if err != nil {
		return nil, err
	}
	defer func() { p.end() }()
	for range (o.rounds + 5) / 6 {
		next, reply, err := bodyRound(ctx, p, r.Addrs["http"], path, kinds, figures)
		if next != nil {
			p.end()
			p, r = next, reply
		}
		if err != nil {
			return nil, err
		}
	}
	return figures, nil
}

// bodyRound has each body read by p, and after a successor has taken over once more, on connections on which the request
// began before.
func bodyRound(ctx context.Context, p *process, addr, path string, kinds []upload, figures []figure) (next *process, r reply, err error) {
	var before, after []*client
	defer func() {
		for _, c := range append(before, after...) {
			c.hangUp()
		}
	}()
	for _, u := range append(kinds[:1:1], kinds...) { // one to warm up
		for _, begun := range []*[]*client{&before, &after} {
			c, err := u.begin(addr)
			if err != nil {
				return nil, r, err
			}
			*begun = append(*begun, c)
		}
	}
	take := func(begun []*client, add func(f *figure, v float64)) error {
		for i, c := range begun {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			i = max(i-1, 0)
			since := time.Now()
			if err := c.request(kinds[i].body); err != nil {
				return fmt.Errorf("%s: %w", kinds[i].path, err)
			}
			if c != begun[0] {
				add(&figures[i], float64(bodySize)/time.Since(since).Seconds())
			}
		}
		return nil
	}
	if err := take(before, func(f *figure, v float64) { f.floor = append(f.floor, v) }); err != nil {
		return nil, r, err
	}
	if next, r, err = start(ctx, "http", path); err != nil {
		return nil, r, err
	}
	for since := time.Now(); ; time.Sleep(time.Millisecond) { // until p knows
		old, err := p.ask(ctx, "moved")
		if err != nil {
			return next, r, err
		}
		if len(old.Times["received confirm"]) > 0 {
			break
		}
		if time.Since(since) > patience {
			return next, r, errors.New("an incumbent does not hear from its successor")
		}
	}
	return next, r, take(after, func(f *figure, v float64) { f.ours = append(f.ours, v) })
}

// upload is a request with a body.
type upload struct {
	path, coding string
	body         []byte
}

// begin makes the request, up to where the handler begins to read the body.
func (u upload) begin(addr string) (*client, error) {
	c, err := newClient(addr, small)
	if err != nil {
		return nil, err
	}
	if err := c.dial(); err != nil {
		return nil, err
	}
	head := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nExpect: 100-continue\r\n%s\r\n\r\n", u.path, u.coding)
	err = again(func() error { _, err := unix.Write(c.fd, head); return err })
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	var got []byte
	for err == nil && len(got) < len(goOn) {
		var n int
		if n, err = c.read(c.buf[:len(goOn)-len(got)]); n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		got = append(got, c.buf[:n]...)
	}
	if err == nil && string(got) != goOn {
		err = fmt.Errorf("unexpected answer %q", got)
	}
	if err != nil {
		c.hangUp()
		return nil, err
	}
	return c, nil
}
