package leak

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestRun(t *testing.T) {
	tests := map[string]struct {
		leak func(t *testing.T) (undo func())
		code int
		want int
		says string
	}{
		"nothing":      {leak: func(*testing.T) func() { return func() {} }},
		"failed tests": {leak: leakGoroutine, code: 3, want: 3},
		"goroutine":    {leak: leakGoroutine, want: 1, says: "leakGoroutine"},
		"descriptor":   {leak: leakFile, want: 1, says: os.DevNull},
		"just in time": {leak: func(t *testing.T) func() { time.AfterFunc(20*time.Millisecond, leakFile(t)); return func() {} }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.says == os.DevNull && runtime.GOOS != "linux" {
				t.Skip("descriptors are seen on Linux only")
			}
			wait := 50 * time.Millisecond
			if tt.want == 0 {
				wait = patience
			}
			var undo func()
			var out bytes.Buffer
			got := run(func() int { undo = tt.leak(t); return tt.code }, &out, wait)
			undo()
			if got != tt.want {
				t.Errorf("status %d, want %d; output:\n%s", got, tt.want, &out)
			}
			if !strings.Contains(out.String(), tt.says) || (out.Len() > 0) != (tt.says != "") {
				t.Errorf("output is to speak of %q:\n%s", tt.says, &out)
			}
		})
	}
}

func leakGoroutine(*testing.T) func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { <-stop; close(stopped) }()
	return func() { close(stop); <-stopped }
}

func leakFile(t *testing.T) func() {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Error(err)
	}
	return func() { _ = f.Close() }
}

// A number that is closed and used again must not hide the new file.
func TestReusedNumber(t *testing.T) {
	before := snapshot{files: map[string]string{"3": "socket:[1]", "4": "pipe:[7]"}}
	after := snapshot{files: map[string]string{"3": "socket:[2]", "4": "pipe:[7]"}}
	left := after.minus(before)
	if len(left.files) != 1 || left.files["3"] != "socket:[2]" {
		t.Errorf("left is %v, want descriptor 3 alone", left.files)
	}
}

// What tests leave in the temporary directory is named and removed, but kept if they fail.
func TestTemporary(t *testing.T) {
	for _, tt := range []struct {
		name        string
		code, want  int
		leave, kept bool
	}{
		{"nothing", 0, 0, false, false},
		{"a file", 0, 1, true, false},
		{"failed tests", 3, 3, false, false},
		{"a file of failed tests", 3, 3, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("temporary files are seen where there is TMPDIR only")
			}
			t.Setenv("TMPDIR", t.TempDir())
			outside, inside := os.TempDir(), ""
			var out bytes.Buffer
			got := inTemporary(func() int {
				inside = os.TempDir()
				if tt.leave {
					if err := os.WriteFile(filepath.Join(inside, "precious"), nil, 0o600); err != nil {
						t.Error(err)
					}
				}
				return tt.code
			}, &out)
			if got != tt.want || strings.Contains(out.String(), "precious") != (tt.want == 1) {
				t.Errorf("status %d, want %d; output:\n%s", got, tt.want, &out)
			}
			if inside == outside || os.TempDir() != outside {
				t.Errorf("temporary directory: %s before, %s inside, %s after", outside, inside, os.TempDir())
			}
			if _, err := os.Lstat(inside); (err == nil) != tt.kept {
				t.Errorf("the directory: %v", err)
			}
		})
	}
}
