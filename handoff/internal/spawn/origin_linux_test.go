package spawn

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOriginFind: names are looked up as at Join, and what cannot be executed is passed over.
func TestOriginFind(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"a/app": 0o644, "b/app": 0o755, "b/data": 0o644} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, nil, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		path, name, want string
		relative         bool
		err              error
	}{
		{"a:b", "app", "b/app", true, nil},
		{dir + "/a:" + dir + "/b", "app", "b/app", false, nil},
		{"a:b", "data", "", false, exec.ErrNotFound},
		{"a:b", "b", "", false, exec.ErrNotFound},
		{"", "app", "", false, exec.ErrNotFound},
		{"", "b/app", "b/app", true, nil},
		{"", "./b/../b/app", "b/app", true, nil},
		{"", dir + "/b/app", "b/app", false, nil},
		{"", "a/app", "a/app", true, fs.ErrPermission},
		{"", "c/app", "c/app", true, fs.ErrNotExist},
		{"b", "", "", false, fs.ErrNotExist},
	} {
		o := Origin{dir: dir, env: []string{"PATH=/nonexistent", "PATH=" + tt.path}}
		f, err := o.find(tt.name)
		want := tt.want
		if want != "" {
			want = filepath.Join(dir, want)
		}
		if f.path != want || f.relative != tt.relative || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
			t.Errorf("%q in PATH=%q: %q, relative %v, %v; want %q, %v, %v", tt.name, tt.path, f.path, f.relative, err, want, tt.relative, tt.err)
		}
	}
}

// TestOriginReport: a program that cannot be found is told of when it starts, and its upgrade fails without a panic.
func TestOriginReport(t *testing.T) {
	for _, o := range []Origin{{}, {program: "/nonexistent/app"}, {program: "app", args: []string{"app"}}, {program: "app", dir: "/"}} {
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, nil))
		o.Report(log)
		if !strings.Contains(b.String(), "the program of this process is not to be found") {
			t.Errorf("%+v: the log has %q", o, b.String())
		}
		if err := o.Command(nil, log).Start(); err == nil {
			t.Errorf("%+v was started", o)
		}
	}
}
