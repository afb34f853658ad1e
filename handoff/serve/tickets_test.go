package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTicketKeysTravel(t *testing.T) {
	at := time.Now().Truncate(time.Second)
	now := func() time.Time { return at }
	a, b := newTickets(now), newTickets(now)
	carry := func() {
		t.Helper()
		var buf bytes.Buffer
		if err := a.save(&buf); err != nil {
			t.Fatal(err)
		}
		if err := b.restore(&buf); err != nil {
			t.Fatal(err)
		}
	}
	for day := range 20 {
		at = at.Add(ticketKeyRotation)
		carry()
		want := min(day+1, maxTicketKeys-1)
		if len(a.keys) != want || len(b.keys) != want {
			t.Fatalf("day %d: %d keys, and %d after the handoff; want %d", day, len(a.keys), len(b.keys), want)
		}
		for i := range a.keys {
			if a.keys[i] != b.keys[i] && !a.keys[i].made.Equal(b.keys[i].made) {
				t.Errorf("day %d: key %d differs", day, i)
			}
		}
	}
}

func TestTicketKeysRestoreErrors(t *testing.T) {
	for name, s := range map[string]string{
		"nothing":         "",
		"another version": "\x02",
		"half a key":      "\x01" + strings.Repeat("k", ticketRecord-1),
		"too many":        "\x01" + strings.Repeat("k", ticketRecord*(maxTicketKeys+1)),
	} {
		if err := newTickets(time.Now).restore(strings.NewReader(s)); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "kkkk") {
			t.Errorf("%s: the error has keys in it: %v", name, err)
		}
	}
	if err := newTickets(time.Now).restore(strings.NewReader("\x01")); err != nil {
		t.Errorf("no keys: %v", err)
	}
}

// Who has arranged the tickets keeps them.
func TestTicketsInstall(t *testing.T) {
	k := newTickets(time.Now)
	for name, c := range map[string]*tls.Config{
		"disabled": {SessionTicketsDisabled: true},
		"wrapped":  {WrapSession: k.wrap},
		"opened":   {UnwrapSession: k.unwrap},
		"a key":    {SessionTicketKey: [32]byte{1}},
	} {
		if shares(c) {
			t.Errorf("%s: replaced", name)
		}
	}
	c := &tls.Config{ServerName: "x", NextProtos: []string{"acme-tls/1"}}
	s := &http.Server{TLSConfig: c}
	if !shares(c) {
		t.Error("an ordinary configuration is not replaced")
	}
	k.install(s)
	got := s.TLSConfig
	if got == c || c.WrapSession != nil || len(c.NextProtos) != 1 || got.WrapSession == nil || got.ServerName != "x" {
		t.Errorf("got %+v", got)
	}
	if want := []string{"acme-tls/1", "h2", "http/1.1"}; !slices.Equal(got.NextProtos, want) {
		t.Errorf("protocols %q, want %q", got.NextProtos, want)
	}
	if shares(got) {
		t.Error("installed twice, for two listeners of one server")
	}
	s = &http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	if k.install(s); s.TLSConfig.UnwrapSession == nil || s.TLSConfig.NextProtos != nil {
		t.Errorf("no configuration, and no HTTP/2: got %+v", s.TLSConfig)
	}
}

// One server may be given with a listener without TLS and with one that has it, and serves HTTP/2 on the latter, whichever
// is served first.
func TestTicketsKeepHTTP2(t *testing.T) {
	certificates, trust := testCertificate()
	synctest.Test(t, func(t *testing.T) {
		plain, secure := newPipeListener(), newPipeListener()
		s := &http.Server{Handler: http.HandlerFunc(echo), TLSConfig: certificates}
		newTickets(time.Now).install(s)
		go func() { _ = s.Serve(plain) }()
		newClient(t, plain.dial()).get("/plain", false)
		go func() { _ = s.ServeTLS(secure, "", "") }()
		tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trust}
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) { return secure.dial(), nil }
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Errorf("served by %s", resp.Proto)
		}
		tr.CloseIdleConnections()
		_ = s.Close()
	})
}
