package pidfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/segue-go/segue/handoff/internal/pidfile"
	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// TestPIDFile: the file is replaced, only this process's own is removed, and nothing else is left in the directory.
func TestPIDFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "pid")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(content string) {
		t.Helper()
		if b, err := os.ReadFile(name); err != nil || string(b) != content {
			t.Errorf("it has %q, %v; want %q", b, err, content)
		}
	}
	own := fmt.Sprintf("%d\n", os.Getpid())
	write("1\n")
	pidfile.Remove(name)
	want("1\n")
	if err := pidfile.Write(name); err != nil {
		t.Fatal(err)
	}
	want(own)
	pidfile.Remove(name)
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := pidfile.Write(name); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
