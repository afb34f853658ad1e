package listener

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// changed changes mode and owner of a socket file until its ctime is another, which it is with the file system's next tick.
func changed(t *testing.T, path string) {
	t.Helper()
	before, err := StatUnixPath(path)
	must(t, err)
	eventually(t, "the clock of the file system goes on", func() bool {
		must(t, os.Chmod(path, 0o620))
		must(t, os.Chown(path, os.Getuid(), os.Getgid()))
		now, err := StatUnixPath(path)
		must(t, err)
		return now.Ctime != before.Ctime
	})
}

// bound makes a pausable socket that is bound to path.
func bound(t *testing.T, network, path string) Pausable {
	t.Helper()
	if network == "unixgram" {
		c, err := net.ListenUnixgram(network, &net.UnixAddr{Net: network, Name: path})
		must(t, err)
		u, err := StatUnixPath(path)
		must(t, err)
		p, err := NewPacket(c, Options{Unlink: u})
		must(t, err)
		return p
	}
	l, err := net.ListenUnix(network, &net.UnixAddr{Net: network, Name: path})
	must(t, err)
	u, err := StatUnixPath(path)
	must(t, err)
	p, err := New(l, Options{Unlink: u})
	must(t, err)
	return p
}

// TestCloseChangedPath: a file that was changed by chmod or chown is still the one that was bound, and is removed.
func TestCloseChangedPath(t *testing.T) {
	for _, network := range []string{"unix", "unixpacket", "unixgram"} {
		for _, state := range []string{"open", "paused", "parked"} {
			t.Run(network+"/"+state, func(t *testing.T) {
				path := filepath.Join(socketDir(t), "s")
				p := bound(t, network, path)
				switch state {
				case "open":
					must(t, p.Open())
				case "parked":
					must(t, p.Park())
				}
				changed(t, path)
				must(t, p.Close())
				if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the path is left behind: %v", err)
				}
			})
		}
	}
}

// TestCloseOthersPath: in the place of a file that was removed, another stays, however often somebody tries to get the
// inode number of the first: the socket holds that as long as it exists.
func TestCloseOthersPath(t *testing.T) {
	for _, network := range []string{"unix", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "s")
			p := bound(t, network, path)
			before, err := StatUnixPath(path)
			must(t, err)
			for range 50 {
				must(t, os.Remove(path))
				other := bound(t, network, path)
				now, err := StatUnixPath(path)
				must(t, err)
				if now.Dev == before.Dev && now.Ino == before.Ino {
					t.Fatal("the inode number of a bound socket's file was used again")
				}
				other.SetUnlinkOnClose(false)
				must(t, other.Close())
			}
			must(t, p.Close())
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("another's path is gone: %v", err)
			}
		})
	}
}

// TestUnlinkWhileOpen: Unlink removes the path, also a changed one, and the listener goes on.
func TestUnlinkWhileOpen(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	p := bound(t, "unix", path)
	l, ok := p.(*Listener)
	if !ok {
		t.Fatalf("%T", p)
	}
	defer func() { _ = l.Discard() }()
	must(t, l.Open())
	changed(t, path)
	c := dial(t, l.Addr())
	must(t, l.Unlink())
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path is still there: %v", err)
	}
	must(t, l.Unlink())
	if got := within(t, "a connection that waited", accept(t, l)); got.err != nil {
		t.Error(got.err)
	} else {
		_ = got.conn.Close()
	}
	_ = c.Close()
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, l.Unlink())
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's file is gone: %v", err)
	}
}
