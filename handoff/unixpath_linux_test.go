package handoff_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/listener"
)

// changePath changes mode and owner of a socket file, as programs do after Listen, until the file system's clock has gone on
// and its ctime tells.
func changePath(t *testing.T, path string) {
	t.Helper()
	before, err := listener.StatUnixPath(path)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the clock of the file system goes on", func() bool {
		if err := errors.Join(os.Chmod(path, 0o660), os.Chown(path, os.Getuid(), os.Getgid())); err != nil {
			t.Fatal(err)
		}
		now, err := listener.StatUnixPath(path)
		if err != nil {
			t.Fatal(err)
		}
		return now.Ctime != before.Ctime
	})
}

// logged is config, with a log to look at.
func logged(t *testing.T, path string) (handoff.Config, *logWriter) {
	t.Helper()
	c := config(t, path)
	w := logs(t, &c)
	return c, w
}

func wantGone(t *testing.T, what, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was left behind: %v", what, err)
	}
}

// TestChangedPathsRemoved: chmod and chown change a file's ctime, but not whose it is. The last generation removes it, or
// whoever closes a socket that its successor does not ask for.
func TestChangedPathsRemoved(t *testing.T) {
	path := rendezvous(t)
	dir := filepath.Dir(path)
	c, log := logged(t, path)
	bind := func(g *handoff.Generation) {
		listen(t, g, "unix", dir+"/stream")
		listen(t, g, "unixpacket", dir+"/packet")
		listenPacket(t, g, "unixgram", dir+"/gram")
	}
	change := func() {
		for _, name := range []string{"stream", "packet", "gram", "s"} {
			changePath(t, filepath.Join(dir, name))
		}
	}
	a := join(t, c)
	bind(a)
	listen(t, a, "unix", dir+"/dropped")
	listenPacket(t, a, "unixgram", dir+"/dropped-gram")
	changePath(t, dir+"/dropped")
	ready(t, a)
	change()
	b := join(t, c)
	bind(b)
	listen(t, b, "unix", dir+"/dropped")
	listenPacket(t, b, "unixgram", dir+"/dropped-gram")
	changePath(t, dir+"/dropped-gram")
	supersede(t, a, b)
	shut(t, a)
	change()
	changePath(t, dir+"/dropped")
	last := join(t, c)
	bind(last)
	supersede(t, b, last)
	wantGone(t, "the path of a listener that was not asked for", dir+"/dropped")
	shut(t, b)
	wantGone(t, "the path of a packet socket that was not asked for", dir+"/dropped-gram")
	change()
	shut(t, last)
	for _, name := range []string{"stream", "packet", "gram", "s"} {
		wantGone(t, name, filepath.Join(dir, name))
	}
	if s := log.String(); strings.Contains(s, "left behind") {
		t.Errorf("the log says of a path that it was left:\n%s", s)
	}
}

// TestPathLeftBehindIsLogged: what is at the path by now and is somebody else's is left, and the log says so, once.
func TestPathLeftBehindIsLogged(t *testing.T) {
	for _, tt := range []struct {
		what    string
		replace func(path string) error
	}{
		{"a socket", func(path string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		}},
		{"a file", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
	} {
		for _, end := range []string{"stopped", "closed", "not asked for"} {
			t.Run(tt.what+"/"+end, func(t *testing.T) {
				path := rendezvous(t)
				sock := filepath.Join(filepath.Dir(path), "web")
				c, log := logged(t, path)
				a := join(t, c)
				l := listen(t, a, "unix", sock)
				ready(t, a)
				if err := errors.Join(os.Remove(sock), tt.replace(sock)); err != nil {
					t.Fatal(err)
				}
				switch end {
				case "stopped":
					shut(t, a)
				case "closed":
					if err := l.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
					_ = l.Close()
				default:
					supersede(t, a, join(t, c))
				}
				shut(t, a)
				if _, err := os.Lstat(sock); err != nil {
					t.Errorf("another's path is gone: %v", err)
				}
				if n := strings.Count(log.String(), `msg="a path was left behind"`); n != 1 {
					t.Errorf("the log says so %d times:\n%s", n, log)
				}
			})
		}
	}
}

// TestPathOfRevivedListener: a listener that the successor did not ask for is bound anew when that one fails, and its path
// is removed at the end like any other, whatever the program has made of its mode.
func TestPathOfRevivedListener(t *testing.T) {
	path := rendezvous(t)
	sock := filepath.Join(filepath.Dir(path), "web")
	c, log := logged(t, path)
	c.Guard = patience
	a := join(t, c)
	l := listen(t, a, "unix", sock)
	ready(t, a)
	changePath(t, sock)
	b := join(t, c)
	ready(t, b)
	eventually(t, "the path is removed", func() bool {
		_, err := os.Lstat(sock)
		return errors.Is(err, os.ErrNotExist)
	})
	awaitPhase(t, a, handoff.PhaseDraining)
	if err := b.Fail(errors.New("unwell")); err != nil {
		t.Fatalf("Fail: %v", err)
	}
	awaitPhase(t, a, handoff.PhaseServing)
	eventually(t, "the path is bound anew", func() bool {
		_, err := os.Lstat(sock)
		return err == nil
	})
	serves(t, l)
	changePath(t, sock)
	shut(t, a)
	wantGone(t, "the path", sock)
	if s := log.String(); strings.Contains(s, "a path was left behind") {
		t.Errorf("the log says of a path that it was left:\n%s", s)
	}
}
