package load_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/load"
)

// patience bounds every wait of the tests.
const patience = 20 * time.Second

// quick are options for a load that does not dawdle.
func quick(s *httptest.Server, o load.Options) load.Options {
	o.Address = s.Listener.Addr().String()
	o.Network = s.Listener.Addr().Network()
	o.Pace = 2 * time.Millisecond
	o.SlowFor = 10 * time.Millisecond
	o.UploadFor = 10 * time.Millisecond
	o.UploadSize = 5000
	o.Seed = 1
	return o
}

// drive runs a load until the server has had enough.
func drive(t *testing.T, enough <-chan struct{}, o load.Options) *load.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := load.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-enough:
	case <-ctx.Done():
		t.Errorf("the server did not get enough requests in %v", patience)
	}
	l.Stop()
	return l.Wait()
}

// counting closes enough when it has passed n requests on.
func counting(n int64, h http.Handler) (http.Handler, <-chan struct{}) {
	enough := make(chan struct{})
	var seen atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if seen.Add(1) == n {
			close(enough)
		}
	}), enough
}

func TestNothingFailsOnAGoodServer(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			h, enough := counting(300, load.Handler())
			s := httptest.NewUnstartedServer(h)
			if network == "unix" {
				_ = s.Listener.Close()
				var err error
				if s.Listener, err = net.Listen("unix", filepath.Join(t.TempDir(), "s")); err != nil {
					t.Fatal(err)
				}
			}
			s.Start()
			defer s.Close()

			o := quick(s, load.Options{New: 2, Kept: 2, Slow: 2, Upload: 4, Idle: 3})
			o.Dialer = new(load.Dialer)
			res := drive(t, enough, o)
			if err := res.Err(); err != nil {
				t.Error(err)
			}
			c := res.Counts()
			if c.Requests < 300 || c.Reconnects != 0 || c.Excused != 0 {
				t.Errorf("counts are %+v", c)
			}
			for _, k := range res.Kinds {
				if k.Requests == 0 || k.Latencies().N != k.Requests {
					t.Errorf("%s: %d requests, %d latencies", k.Kind, k.Requests, k.Latencies().N)
				}
				asked := map[int]int{} // requests by client
				for s := range k.Samples() {
					asked[s.Worker]++
					if s.PID != os.Getpid() || s.End.Before(s.Start) || s.Latency < 0 {
						t.Errorf("%s: sample %+v", k.Kind, s)
					}
				}
				if k.Kind == load.Idle && !maps.Equal(asked, map[int]int{0: 2, 1: 2, 2: 2}) {
					t.Errorf("3 idle connections made %v requests, not 2 each", asked)
				}
			}
			if d := o.Dialer; d.Open() != 0 || d.Failed() != 0 || d.Dials() < 2+2+2+2+3 {
				t.Errorf("dials %d, failed %d, open %d", d.Dials(), d.Failed(), d.Open())
			}
		})
	}
}

// hijack takes the connection away from net/http.
func hijack(w http.ResponseWriter) *net.TCPConn {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // only in a test's server, which answers with a dropped connection
	}
	return c.(*net.TCPConn)
}

// TestEachFaultIsCounted plants faults in a server, one in twenty requests, and wants each counted, and nothing else.
func TestEachFaultIsCounted(t *testing.T) {
	held := make(chan net.Conn, 1000)
	defer func() {
		close(held)
		for c := range held {
			_ = c.Close()
		}
	}()
	var previous atomic.Value
	previous.Store("none")

	tests := []struct {
		name    string
		options load.Options
		fault   func(w http.ResponseWriter, r *http.Request)
		op      string
		wantErr error
		dropped bool
	}{
		{"reset", load.Options{New: 2, Kept: 4}, func(w http.ResponseWriter, _ *http.Request) {
			c := hijack(w)
			_ = c.SetLinger(0)
			_ = c.Close()
		}, "receive", syscall.ECONNRESET, true},
		{"closed without an answer", load.Options{New: 2, Kept: 4}, func(w http.ResponseWriter, _ *http.Request) {
			_ = hijack(w).Close()
		}, "receive", io.ErrUnexpectedEOF, true},
		{"dropped, connection open", load.Options{Kept: 4, Timeout: 300 * time.Millisecond},
			func(w http.ResponseWriter, _ *http.Request) {
				held <- hijack(w)
			}, "receive", os.ErrDeadlineExceeded, false},
		{"another's token", load.Options{New: 2, Kept: 4}, func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			q.Set("token", previous.Load().(string))
			r.URL.RawQuery = q.Encode()
			load.Handler().ServeHTTP(w, r)
		}, "check", load.ErrForeign, false},
		{"status", load.Options{Kept: 4, Slow: 2}, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
		}, "receive", load.ErrStatus, false},
		{"truncated", load.Options{Kept: 4}, func(w http.ResponseWriter, _ *http.Request) {
			c := hijack(w)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
			_ = c.Close()
		}, "receive", io.ErrUnexpectedEOF, true},
		{"answered twice", load.Options{Kept: 4}, func(w http.ResponseWriter, r *http.Request) {
			c := hijack(w)
			_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 2))
			held <- c
		}, "receive", load.ErrUnasked, false},
		{"upload damaged", load.Options{Upload: 4}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1))
			load.Handler().ServeHTTP(w, r)
		}, "check", load.ErrForeign, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const every, faults = 20, 5
			var seen, planted atomic.Int64
			h, enough := counting(every*faults+10, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n := seen.Add(1); n%every == 0 && n <= every*faults {
					planted.Add(1)
					tt.fault(w, r)
					return
				}
				previous.Store(r.FormValue("token"))
				load.Handler().ServeHTTP(w, r)
			}))
			s := httptest.NewServer(h)
			defer s.Close()

			res := drive(t, enough, quick(s, tt.options))
			if res.Failed() != faults || planted.Load() != faults || res.Forced() != 0 {
				t.Errorf("planted %d faults, counted %d and %d forced: %v", planted.Load(), res.Failed(), res.Forced(),
					res.Err())
			}
			for _, f := range res.Failures() {
				if !errors.Is(f, tt.wantErr) || f.Op != tt.op || f.Dropped() != tt.dropped {
					t.Errorf("counted as %+v, dropped %t", f, f.Dropped())
				}
				if f.Local == "" || f.Dialed.IsZero() || f.At.Before(f.Started) {
					t.Errorf("not all is told of %+v", f)
				}
			}
			if err := res.Err(); !errors.Is(err, tt.wantErr) {
				t.Errorf("Err() is %v", err)
			}
		})
	}
}

func TestIdleConnectionsClosedAreForcedReconnects(t *testing.T) {
	h, enough := counting(60, load.Handler())
	s := httptest.NewUnstartedServer(h)
	s.Config.IdleTimeout = 5 * time.Millisecond // the server closes them and says nothing
	s.Start()
	defer s.Close()

	o := quick(s, load.Options{Kept: 4, Idle: 4})
	o.Pace = 100 * time.Millisecond
	res := drive(t, enough, o)
	for _, k := range res.Kinds {
		if k.Forced == 0 || k.Reconnects != 0 {
			t.Errorf("%s: %+v", k.Kind, k.Counts)
		}
	}
	if err := res.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("Err() is %v", err)
	}
}

// TestIdleConnectionsThatDoNotLast are counted apart.
func TestIdleConnectionsThatDoNotLast(t *testing.T) {
	h, enough := counting(200, load.Handler())
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 50:
			_ = hijack(w).Close() // lost, and connected anew
			return
		case 60:
			w.Header().Set("Connection", "close") // connected anew
		}
		h.ServeHTTP(w, r)
	}))
	defer s.Close()
	o := quick(s, load.Options{Idle: 10, New: 1})
	o.Rest = 10 * time.Millisecond
	res := drive(t, enough, o)
	l := res.Lasting
	if len(l) != 1 || l[0].Name != "idle" || l[0].Connections != 10 {
		t.Fatalf("lasting: %+v", l)
	}
	idle := res.Kinds[1].Counts
	if res.Kinds[1].Kind != load.Idle || l[0].Lost != idle.Failed || l[0].Reconnects != idle.Failed+idle.Reconnects {
		t.Errorf("lasting: %+v, counted: %+v", l, idle)
	}
	all := res.Counts()
	if all.Failed != 1 || all.Requests < 200 {
		t.Errorf("%+v: %v", all, res.Err())
	}
	res.Excuse(func(load.Failure) bool { return true })
	if l := res.Lasting[0]; l.Lost != 0 || l.Reconnects != idle.Reconnects || l.Excused != idle.Failed {
		t.Errorf("lasting, excused: %+v", l)
	}
}

func TestIdleConnectionsAreProbedAtTheEnd(t *testing.T) {
	var seen atomic.Int64
	enough := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := seen.Add(1); {
		case n > 5:
			_ = hijack(w).Close()
			return
		case n == 5:
			defer close(enough)
		}
		load.Handler().ServeHTTP(w, r)
	}))
	defer s.Close()
	res := drive(t, enough, quick(s, load.Options{Idle: 5}))
	// The fifth client may still wait for its first answer when the load ends; it is probed nevertheless.
	if c := res.Counts(); c.Requests != 10 || c.Failed != 5 || c.Forced != 0 {
		t.Errorf("counts are %+v: %v", c, res.Err())
	}
}

func TestPoliteReconnectsAreNoFailures(t *testing.T) {
	h, enough := counting(100, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		load.Handler().ServeHTTP(w, r)
	}))
	s := httptest.NewServer(h)
	defer s.Close()
	res := drive(t, enough, quick(s, load.Options{New: 1, Kept: 4}))
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	for _, k := range res.Kinds {
		want := 0 // a client that asks for the end of the connection is not forced to anything
		if k.Kind == load.Kept {
			want = k.Requests
		}
		if k.Reconnects != want {
			t.Errorf("%s: %d reconnects, want %d", k.Kind, k.Reconnects, want)
		}
	}
}

func TestRefusedConnectionsFail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	run, err := load.Start(ctx, load.Options{Address: addr, New: 1, Kept: 1, Idle: 1})
	if err != nil {
		t.Fatal(err)
	}
	for run.Counts().Failed < 10 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	run.Stop()
	res := run.Wait()
	for _, f := range res.Failures() {
		if !errors.Is(f, syscall.ECONNREFUSED) || f.Op != "connect" || f.Dropped() {
			t.Errorf("counted as %+v", f)
		}
	}
	if c := res.Counts(); c.Failed < 10 || c.Failed != c.Requests {
		t.Errorf("counts are %+v", c)
	}
}

func TestExcuse(t *testing.T) {
	h, enough := counting(50, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no", http.StatusTeapot)
	}))
	s := httptest.NewServer(h)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := load.Start(ctx, quick(s, load.Options{New: 2, Kept: 2, Slow: 1}))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-enough:
	case <-ctx.Done():
		t.Error("not enough requests")
	}
	of := func(k load.Kind) func(load.Failure) bool {
		return func(f load.Failure) bool { return f.Kind == k }
	}
	early := l.Excuse(of(load.New)) // while it runs
	l.Stop()
	res := l.Wait()
	before := res.Counts()
	late := res.Excuse(of(load.New)) + res.Excuse(of(load.Kept))
	after := res.Counts()
	if early == 0 || late == 0 || before.Excused != early || after.Excused != early+late ||
		after.Failed != before.Failed-late || after.Requests != before.Requests {
		t.Errorf("excused %d, then %d: %+v became %+v", early, late, before, after)
	}
	if slices.ContainsFunc(res.Failures(), func(f load.Failure) bool { return f.Kind != load.Slow }) {
		t.Error("an excused failure is still listed")
	}
	if n := len(res.Kinds[load.New].Pardoned) + len(res.Kinds[load.Kept].Pardoned); n != early+late {
		t.Errorf("%d failures are kept as excused, want %d", n, early+late)
	}
}

func TestWrongOptions(t *testing.T) {
	for _, o := range []load.Options{
		{},
		{New: 1},
		{Address: "127.0.0.1:1"},
		{Address: "127.0.0.1:1", New: 2, Kept: -1},
		{Address: "127.0.0.1:1", New: 1, Pace: -1},
	} {
		if _, err := load.Run(t.Context(), o); err == nil {
			t.Errorf("no error for %+v", o)
		}
	}
}

func TestNoRequestIsAnError(t *testing.T) {
	if err := new(load.Result).Err(); err == nil {
		t.Error("a load that sent nothing has no error")
	}
}
