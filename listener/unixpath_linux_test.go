package listener

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestUnixPath(t *testing.T) {
	bind := func(t *testing.T, path string) {
		t.Helper()
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		must(t, err)
		l.SetUnlinkOnClose(false)
		must(t, l.Close())
	}
	for name, tt := range map[string]struct {
		meanwhile func(t *testing.T, path string)
		stays     bool
	}{
		"ours": {meanwhile: func(*testing.T, string) {}},
		"gone": {meanwhile: func(t *testing.T, path string) { must(t, os.Remove(path)) }},
		"bound anew": {meanwhile: func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".old")) // so that its inode is not used again
			bind(t, path)
		}, stays: true},
		"bound anew, inode perhaps the same": {meanwhile: func(t *testing.T, path string) {
			before, err := StatUnixPath(path)
			must(t, err)
			// Timestamps are those of the last tick, so the new file can look like the old one at first.
			eventually(t, "the clock of the file system goes on", func() bool {
				must(t, os.Remove(path))
				bind(t, path)
				now, err := StatUnixPath(path)
				must(t, err)
				return now.Ctime != before.Ctime
			})
		}, stays: true},
		"mode changed": {meanwhile: func(t *testing.T, path string) {
			before, err := StatUnixPath(path)
			must(t, err)
			eventually(t, "the clock of the file system goes on", func() bool {
				must(t, os.Chmod(path, 0o600))
				now, err := StatUnixPath(path)
				must(t, err)
				return now.Ctime != before.Ctime
			})
		}, stays: true},
		"a file in its place": {meanwhile: func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.WriteFile(path, nil, 0o600))
		}, stays: true},
		"directory gone": {meanwhile: func(t *testing.T, path string) { must(t, os.RemoveAll(filepath.Dir(path))) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(socketDir(t), "d")
			must(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "s")
			bind(t, path)
			u, err := StatUnixPath(path)
			must(t, err)
			tt.meanwhile(t, path)
			must(t, u.Unlink())
			if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) == tt.stays {
				t.Errorf("lstat: %v, want it to stay: %v", err, tt.stays)
			}
		})
	}
}

func TestStatUnixPath(t *testing.T) {
	dir := socketDir(t)
	t.Chdir(dir)
	l, err := net.Listen("unix", "s")
	must(t, err)
	defer l.Close()
	u, err := StatUnixPath("s")
	must(t, err)
	if !filepath.IsAbs(u.Path) || filepath.Base(u.Path) != "s" {
		t.Errorf("the path is %q", u.Path)
	}
	b, err := json.Marshal(u)
	must(t, err)
	var again UnixPath
	must(t, json.Unmarshal(b, &again))
	if again != *u {
		t.Errorf("%s became %+v, was %+v", b, again, *u)
	}
	t.Chdir("/")
	must(t, u.Unlink())
	if _, err := os.Lstat(filepath.Join(dir, "s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}

	if _, err := StatUnixPath(filepath.Join(dir, "s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := StatUnixPath(dir); !errors.Is(err, ErrNotSocket) {
		t.Errorf("of a directory: %v", err)
	}
	must(t, (*UnixPath)(nil).Unlink())
	must(t, new(UnixPath).Unlink())
}
