package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// release puts the test binary into a directory of the world, as a file of its own, in place of what is there.
func (w *world) release(dir string) (program string) {
	w.t.Helper()
	exe, err := w.copy(must(os.Executable()))
	if err != nil {
		w.t.Fatal(err)
	}
	dir = filepath.Join(w.dir, dir)
	program = filepath.Join(dir, "app")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(exe, program); err != nil {
		w.t.Fatal(err)
	}
	return program
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// link makes or changes a symbolic link of the world.
func (w *world) link(to, name string) {
	w.t.Helper()
	name = filepath.Join(w.dir, name)
	if err := os.Symlink(to, name+".new"); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		w.t.Fatal(err)
	}
}

// TestProgramFound: however a program was started, an upgrade runs what is now where it came from.
func TestProgramFound(t *testing.T) {
	path := func(w *world) string { return "PATH=" + filepath.Join(w.dir, "releases/1") + ":" + os.Getenv("PATH") }
	for _, tt := range []struct {
		name  string
		start func(w *world, cmd *exec.Cmd)
		links bool // the release is reached by a symbolic link, which changes; else its file is replaced
	}{
		{"its path", func(_ *world, cmd *exec.Cmd) { cmd.Args[0] = cmd.Path }, false},
		{"its path by a link", func(w *world, cmd *exec.Cmd) {
			cmd.Path = filepath.Join(w.dir, "current/app")
			cmd.Args[0] = cmd.Path
		}, true},
		{"a name in PATH", func(w *world, cmd *exec.Cmd) {
			cmd.Args[0], cmd.Env = "app", append(cmd.Env, path(w))
		}, false},
		{"a name in a relative PATH", func(_ *world, cmd *exec.Cmd) {
			cmd.Path, cmd.Args[0], cmd.Env = "releases/1/app", "app", append(cmd.Env, "PATH=/bin:releases/1")
		}, false},
		{"a name in an empty PATH", func(w *world, cmd *exec.Cmd) {
			cmd.Path, cmd.Args[0], cmd.Env = "./app", "app", append(cmd.Env, "PATH=/bin::/usr/bin")
			cmd.Dir = filepath.Join(w.dir, "releases/1")
		}, false},
		{"argv[0] that names no file", func(_ *world, cmd *exec.Cmd) { cmd.Args[0] = "no-such-file" }, false},
		{"argv[0] that is empty", func(_ *world, cmd *exec.Cmd) { cmd.Args[0] = "" }, false},
		{"argv[0] that is no name", func(_ *world, cmd *exec.Cmd) { cmd.Args[0] = strings.Repeat("\xff\n€", 200) }, false},
		{"argv[0] that names a path without a file", func(_ *world, cmd *exec.Cmd) { cmd.Args[0] = "/no/such/file" }, false},
		{"argv[0] that names another program", func(_ *world, cmd *exec.Cmd) { cmd.Args[0] = "sh" }, false},
		{"argv[0] that names the path of another program", func(_ *world, cmd *exec.Cmd) { cmd.Args[0] = "/bin/sh" }, false},
		{"argv[0] that names a directory", func(_ *world, cmd *exec.Cmd) { cmd.Args[0] = "./releases" }, false},
		{"argv[0] that names no file, by a link", func(w *world, cmd *exec.Cmd) {
			cmd.Path = filepath.Join(w.dir, "current/app")
			cmd.Args[0] = "no-such-file"
		}, true},
		{"argv[0] that names no file, by a relative path", func(_ *world, cmd *exec.Cmd) {
			cmd.Path, cmd.Args[0] = "./releases/1/app", "no-such-file"
		}, false},
		{"a descriptor", func(_ *world, cmd *exec.Cmd) {
			cmd.ExtraFiles = []*os.File{must(os.Open(cmd.Path))}
			cmd.Path, cmd.Args[0] = "/proc/self/fd/3", "no-such-file"
		}, false},
		{"a relative path in the directory of a link", func(w *world, cmd *exec.Cmd) {
			cmd.Dir = filepath.Join(w.dir, "current")
			cmd.Path, cmd.Args[0], cmd.Env = "./app", "./app", append(cmd.Env, "PWD="+cmd.Dir)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "started")
			program := w.release("releases/1")
			w.link("releases/1", "current")
			var argv0 string
			w.adapt = func(cmd *exec.Cmd) {
				cmd.Path, cmd.Args[0] = program, program
				tt.start(w, cmd)
				argv0 = strings.ToValidUTF8(cmd.Args[0], "\uFFFD") // as JSON brings it
			}
			p := w.serving("started")
			for _, dir := range []string{"releases/2", "releases/3"} {
				if !tt.links {
					dir = "releases/1"
				}
				program = w.release(dir)
				w.link(dir, "current")
				p = w.next(p)
				got := w.order(p, "tell")
				if got.Exe != program || got.Args[0] != argv0 { // with " (deleted)" it would be the old file
					t.Fatalf("started as %q is %s, want %q and %s", got.Args[0], got.Exe, argv0, program)
				}
			}
		})
	}
}

// TestDirectoryRemoved: without the directory in which it was started, a program is not upgraded, and the error names that
// directory, not the program. With it, it is.
func TestDirectoryRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "started")
	dir := filepath.Join(w.dir, "work")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.adapt = func(cmd *exec.Cmd) { cmd.Dir = dir }
	p := w.serving("started")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got := w.refused(p); !strings.Contains(got, "its directory, "+dir+", cannot be entered") || strings.Contains(got, "fork/exec") {
		t.Errorf("the error is %q", got)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p = w.next(p)
	if got := w.order(p, "tell"); got.Dir != dir {
		t.Errorf("started in %s, want %s", got.Dir, dir)
	}
}

// TestDirectoryOfLink: the kernel does not tell by which link a directory was reached. Where $PWD does not either, an
// operator is told that the link is not followed.
func TestDirectoryOfLink(t *testing.T) {
	for _, tt := range []struct {
		name, path, warning string
		start               bool // it is told at the start
	}{
		{"relative", "./app", "started by a relative path in a directory that $PWD does not name; upgrades do not follow a symbolic link to it", true},
		{"absolute", "", "the successor's program is in another directory, but starts in that of the old one", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "started")
			w.release("releases/1")
			w.release("releases/2")
			w.link("releases/1", "current")
			w.adapt = func(cmd *exec.Cmd) {
				cmd.Dir = filepath.Join(w.dir, "current")
				cmd.Path = filepath.Join(cmd.Dir, "app")
				if tt.path != "" {
					cmd.Path = tt.path
				}
				cmd.Args[0] = cmd.Path
				cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "PWD=") })
			}
			p := w.serving("started")
			if got := w.warnings(p, tt.warning); got != map[bool]int{true: 1}[tt.start] {
				t.Errorf("%d warnings at the start", got)
			}
			w.link("releases/2", "current")
			w.next(p)
			if got := w.warnings(p, tt.warning); got != 1 {
				t.Errorf("%d warnings", got)
			}
		})
	}
}
