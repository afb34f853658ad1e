package serve

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestZeroCopy: what net/http does without copying to user space it does so through this package: sendfile(2) of a
// file, splice(2) from another connection to the client, and from the client once the program has hijacked. A loop that
// copies 32 KiB at a time is seen by its 512 writes; splice(2) counts as none, sendfile(2) as one for each call
// (proc_pid_io(5)).
func TestZeroCopy(t *testing.T) {
	const size, loop = 16 << 20, 512
	t.Cleanup(func() {
		for range 3 { // package net keeps the pipes of splice(2) in a pool (internal/poll/splice_linux.go)
			runtime.GC()
		}
	})
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	// sendFile is a peer's way to send as much, with few writes of its own.
	sendFile := func(c *net.TCPConn) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = c.ReadFrom(f)
		return err
	}
	listen := func() *net.TCPListener {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	upstream := listen()
	results := make(chan error, 1)
	other := func(f func(*net.TCPConn) error) { // what the upstream's end of the next connection does
		go func() {
			c, err := upstream.AcceptTCP()
			if err == nil {
				err = f(c)
				_ = c.Close()
			}
			results <- err
		}()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/sendfile", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
	mux.HandleFunc("/splice", func(w http.ResponseWriter, _ *http.Request) {
		c, err := net.Dial("tcp", upstream.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = io.Copy(w, c)
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		c, err := net.Dial("tcp", upstream.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = client.Write([]byte("go on"))
		_, _ = io.Copy(c, client)
	})
	ln := listen()
	r := start(newFake(ln), HTTP(&http.Server{Handler: mux}, &registrar{Listener: ln}))
	t.Cleanup(func() {
		r.stop()
		<-r.done
	})
	read := func(c *net.TCPConn) error {
		n, err := io.Copy(io.Discard, c)
		if err == nil && n < size {
			err = fmt.Errorf("%d bytes, want %d: %w", n, size, io.ErrUnexpectedEOF)
		}
		return err
	}
	for _, tt := range []struct {
		name          string
		other, client func(*net.TCPConn) error
	}{
		{"sendfile", nil, read},
		{"splice", sendFile, read},
		{"hijack", read, func(c *net.TCPConn) error {
			if _, err := io.ReadFull(c, make([]byte, len("go on"))); err != nil {
				return err
			}
			if err := sendFile(c); err != nil {
				return err
			}
			return c.CloseWrite()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			before := writes(t)
			if tt.other != nil {
				other(tt.other)
			}
			if _, err := io.WriteString(conn, "GET /"+tt.name+" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if err := tt.client(conn.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			if tt.other != nil {
				if err := <-results; err != nil {
					t.Fatal(err)
				}
			}
			if n := writes(t) - before; n >= loop {
				t.Errorf("%d writes for %d MiB: they were copied", n, size>>20)
			} else {
				t.Logf("%d writes", n)
			}
		})
	}
}

// writes is how many system calls of this process have written something.
func writes(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := bytes.Cut(b, []byte("\nsyscw: "))
	number, _, _ := bytes.Cut(after, []byte("\n"))
	n, err := strconv.Atoi(string(number))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
