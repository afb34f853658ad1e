package leak

import (
	"bytes"
	"os"
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
