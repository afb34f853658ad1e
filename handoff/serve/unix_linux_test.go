package serve_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// The end of a superseded generation closes its listeners, and must leave the socket file to its successor. The last
// generation removes it.
func TestUnixPathIsTheSuccessors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "http.sock")
	start := func(name string) (context.CancelFunc, chan error) {
		t.Helper()
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		gen, err := handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "segue.sock"), Guard: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := gen.Listen(ctx, "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			defer stop()
			h := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }
			ended <- serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: http.HandlerFunc(h)}, ln))
		}()
		return stop, ended
	}
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
	get := func(want string) {
		t.Helper()
		resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("http://unix/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != want {
			t.Fatalf("answer: %q, %v, want %q", b, err, want)
		}
	}
	end := func(ended chan error) {
		t.Helper()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("Run has not returned")
		}
	}

	_, firstEnded := start("first")
	get("first")
	stop, secondEnded := start("second")
	end(firstEnded)
	get("second")
	stop()
	end(secondEnded)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket file after the last generation: %v", err)
	}
}
