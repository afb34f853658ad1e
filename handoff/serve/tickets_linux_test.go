package serve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// A client that connects again after an upgrade resumes its session, also after the next one; if the owner of the
// configuration keeps the tickets to himself, it does not.
func TestSessionsResume(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, proto := range []string{"http/1.1", "h2"} {
			for _, shared := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/shared=%t", tls.VersionName(version), proto, shared), func(t *testing.T) {
					sessionsResume(t, version, proto, shared)
				})
			}
		}
	}
}

func sessionsResume(t *testing.T, version uint16, proto string, shared bool) {
	dir, err := os.MkdirTemp("", "segue") // short: it holds a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	certificates, trust := certificate()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var addr string
	var ends []chan error
	begin := func() *handoff.Generation {
		t.Helper()
		gen, err := handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "s"), Guard: -1, DrainTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := gen.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr = ln.Addr().String()
		c := certificates.Clone()
		if !shared { // with keys of its own, which nobody else gets to know
			own := c.Clone()
			c.WrapSession, c.UnwrapSession = own.EncryptTicket, own.DecryptTicket
		}
		end := make(chan error, 1)
		ends = append(ends, end)
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }), TLSConfig: c}
		go func() { end <- serve.Run(ctx, gen, serve.HTTPS(s, ln, "", "")) }()
		for gen.Status().Phase != handoff.PhaseServing {
			select {
			case err := <-end:
				t.Fatal(err)
			case <-time.After(time.Millisecond):
			}
		}
		return gen
	}
	client := trust.Clone()
	client.ServerName, client.MaxVersion, client.NextProtos = "example.com", version, []string{proto}
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	resumed := func() bool {
		t.Helper()
		c, err := (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		tc := c.(*tls.Conn)
		if got := tc.ConnectionState().NegotiatedProtocol; got != proto {
			t.Fatalf("protocol %q, want %q", got, proto)
		}
		// Tickets of TLS 1.3 come with the first bytes from the server.
		if proto == "h2" {
			_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		} else {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := bufio.NewReader(c).ReadByte(); err != nil {
			t.Fatal(err)
		}
		return tc.ConnectionState().DidResume
	}

	begin()
	if resumed() {
		t.Fatal("resumed what there was not")
	}
	if !resumed() {
		t.Fatal("the same server does not resume a session")
	}
	for range 2 {
		begin()
		if got := resumed(); got != shared {
			t.Errorf("after an upgrade: resumed is %t, want %t", got, shared)
		}
	}
	cancel()
	for _, end := range ends {
		if err := <-end; err != nil {
			t.Error(err)
		}
	}
}
