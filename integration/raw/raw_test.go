package raw_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/raw"
)

// patience bounds every wait of the tests.
const patience = 20 * time.Second

// server answers what the package's documentation says, and keeps what it handled.
type server struct {
	mu      sync.Mutex
	handled strings.Builder
	seen    atomic.Int64
	fault   func(n int64, w http.ResponseWriter, r *http.Request) bool // reports whether it has answered
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	s.mu.Lock()
	fmt.Fprintln(&s.handled, token, os.Getpid())
	s.mu.Unlock()
	w.Header().Set("X-Token", token)
	w.Header().Set("X-Segue-Pid", strconv.Itoa(os.Getpid()))
	if n := s.seen.Add(1); s.fault != nil && s.fault(n, w, r) {
		return
	}
	switch r.URL.Path {
	case "/slow":
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
	case "/upload":
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d %x ", n, sum.Sum(nil))
	}
	fmt.Fprintln(w, token)
}

// drive lets things happen until enough was answered, or clients have failed.
func drive(t *testing.T, l net.Listener, o raw.Options, ok func(*raw.Run) bool) *raw.Result {
	t.Helper()
	o.Network, o.Address = l.Addr().Network(), l.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	run, err := raw.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; !ok(run) && ctx.Err() == nil; n++ {
		run.Strike()
		if n%5 == 0 {
			run.Upgraded()
		}
		time.Sleep(2 * time.Millisecond) // the rate at which things happen
	}
	if ctx.Err() != nil {
		t.Errorf("only %d answers", run.Answered())
	}
	run.Stop()
	return run.Wait()
}

// TestNothingFailsOnAGoodServer lets all modes ask a server that is never upgraded.
func TestNothingFailsOnAGoodServer(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			var h server
			s := httptest.NewUnstartedServer(&h)
			if network == "unix" {
				_ = s.Listener.Close()
				var err error
				if s.Listener, err = net.Listen("unix", filepath.Join(t.TempDir(), "s")); err != nil {
					t.Fatal(err)
				}
			}
			s.Start()
			defer s.Close()
			res := drive(t, s.Listener, raw.Options{Clients: 2, Seed: 1}, func(r *raw.Run) bool { return r.Answered() > 2000 })
			if err := res.Err(); err != nil {
				t.Error(err)
			}
			if err := res.Handled(strings.NewReader(h.handled.String())); err != nil {
				t.Error(err)
			}
			for _, m := range res.Modes {
				fresh := m.Mode == raw.Mute || m.Mode == raw.Early || m.Mode == raw.HalfClose
				if !fresh && m.Connections != 2 || len(m.Asked) != m.Answered || m.Last[os.Getpid()] != 2 {
					t.Errorf("%s: %d connections, %d asked, %d answered, last %v", m.Mode, m.Connections, len(m.Asked),
						m.Answered, m.Last)
				}
				if !slices.Contains(raw.Modes(), m.Mode) {
					t.Errorf("no mode %q", m.Mode)
				}
			}
		})
	}
}

func hijack(w http.ResponseWriter) net.Conn {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // only in a test's server, which answers with a dropped connection
	}
	return c
}

// TestEachFaultIsFound plants one fault in a server: it must be found, by one client, whatever the client does.
func TestEachFaultIsFound(t *testing.T) {
	const at = 20
	held := make(chan net.Conn, 100)
	defer func() {
		close(held)
		for c := range held {
			_ = c.Close()
		}
	}()
	answer := func(token string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Token: %s\r\nContent-Length: %d\r\n\r\n%s", token, len(token), token)
	}
	tests := []struct {
		name string
		want error
		do   func(w http.ResponseWriter, r *http.Request) bool
	}{
		{"closed", io.EOF, func(w http.ResponseWriter, _ *http.Request) bool { return hijack(w).Close() == nil }},
		{"reset", nil, func(w http.ResponseWriter, _ *http.Request) bool {
			c := hijack(w)
			_ = c.(*net.TCPConn).SetLinger(0)
			return c.Close() == nil
		}},
		{"answered and closed without a word", io.EOF, func(w http.ResponseWriter, r *http.Request) bool {
			c := hijack(w)
			_, _ = io.WriteString(c, answer(r.URL.Query().Get("token")))
			return c.Close() == nil
		}},
		{"says that it closes", raw.ErrLeave, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Connection", "close")
			return false
		}},
		{"answered twice", raw.ErrUnasked, func(w http.ResponseWriter, r *http.Request) bool {
			c := hijack(w)
			_, _ = io.WriteString(c, answer(r.URL.Query().Get("token")))
			_, _ = io.WriteString(c, answer(r.URL.Query().Get("token")))
			held <- c
			return true
		}},
		{"another's answer", raw.ErrForeign, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-Token", "steady-0-1-0000000000000000")
			return false
		}},
		{"not answered", raw.ErrLate, func(w http.ResponseWriter, _ *http.Request) bool {
			held <- hijack(w)
			return true
		}},
		{"status", raw.ErrStatus, func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return true
		}},
	}
	for _, tt := range tests {
		for _, mode := range []raw.Mode{raw.Steady, raw.Pipeline, raw.Head} {
			// A body is no answer to a HEAD, and a second answer is in a pipeline that to the next request.
			if strings.HasPrefix(tt.name, "answered") && (mode == raw.Head || mode == raw.Pipeline) {
				continue
			}
			t.Run(tt.name+"/"+string(mode), func(t *testing.T) {
				h := server{fault: func(n int64, w http.ResponseWriter, r *http.Request) bool { return n == at && tt.do(w, r) }}
				s := httptest.NewServer(&h)
				defer s.Close()
				res := drive(t, s.Listener, raw.Options{Clients: 3, Modes: []raw.Mode{mode}, Seed: 2, Timeout: 500 * time.Millisecond},
					func(r *raw.Run) bool { return r.Alive() < 3 })
				failures := res.Failures()
				if len(failures) != 1 {
					t.Fatalf("%d clients failed: %v", len(failures), res.Err())
				}
				f := failures[0]
				want := tt.want
				if want == io.EOF && errors.Is(f, io.ErrUnexpectedEOF) {
					want = io.ErrUnexpectedEOF
				}
				if want != nil && !errors.Is(f, want) || f.Dropped() != (tt.want == nil || tt.want == io.EOF) {
					t.Errorf("found %v (dropped %t), want %v", f, f.Dropped(), tt.want)
				}
				if f.Local == "" || f.Dialed.IsZero() || f.Mode != mode {
					t.Errorf("not all is told: %+v", f)
				}
			})
		}
	}
}

// TestSilentConnectionsThatEndAreFound: a server that ends connections on which nothing happens.
func TestSilentConnectionsThatEndAreFound(t *testing.T) {
	var h server
	s := httptest.NewUnstartedServer(&h)
	s.Config.IdleTimeout, s.Config.ReadHeaderTimeout = 20*time.Millisecond, 20*time.Millisecond
	s.Start()
	defer s.Close()
	for _, mode := range []raw.Mode{raw.Mute, raw.Rare, raw.Instant, raw.FirstBytes} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		run, err := raw.Start(ctx, raw.Options{Address: s.Listener.Addr().String(), Modes: []raw.Mode{mode}, Clients: 3, Pace: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for run.Alive() > 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond) // nothing tells
		}
		run.Stop()
		res := run.Wait()
		cancel()
		if n := len(res.Failures()); n != 3 {
			t.Errorf("%s: %d of 3 were found: %v", mode, n, res.Err())
		}
	}
}

// TestHandled: what was handled twice, by nobody or by another is found.
func TestHandled(t *testing.T) {
	now := time.Now()
	res := raw.Result{Modes: []raw.ModeResult{{Asked: []raw.Answer{
		{Token: "a", End: now, PID: 1}, {Token: "b", End: now, PID: 1}, {Token: "c"}, {Token: "d"},
	}}}}
	for log, want := range map[string]string{
		"a 1\nb 1\n":           "",
		"a 1\nb 1\nc 1\n":      "",
		"a 1\nb 1\na 1\n":      "a was handled 2 times, by [1 1]",
		"a 1\nb 1\nc 1\nc 2\n": "c was handled 2 times, by [1 2]",
		"a 1\n":                "b was answered by 1, and handled by nobody",
		"a 1\nb 2\n":           "b was answered by 1, and handled by 2",
		"a 1\nb 1\nx":          "raw: a garbled line",
	} {
		err := res.Handled(strings.NewReader(log))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", log, err, want)
		}
	}
}

func TestWrongOptions(t *testing.T) {
	for _, o := range []raw.Options{{}, {Address: "127.0.0.1:1", Modes: []raw.Mode{"dance"}}} {
		if _, err := raw.Start(t.Context(), o); err == nil {
			t.Errorf("no error for %+v", o)
		}
	}
}
