//go:build unix && !aix

package listener

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// StatUnixPath records the socket file at path, which is made absolute. Call it right after bind. It fails with
// [ErrNotSocket] if something else is there, and with [os.ErrNotExist] if nothing is.
func StatUnixPath(path string) (*UnixPath, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("listener: make %q absolute: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(abs, &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: abs, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, &os.PathError{Op: "lstat", Path: abs, Err: ErrNotSocket}
	}
	return &UnixPath{Path: abs, Dev: uint64(st.Dev), Ino: uint64(st.Ino), Ctime: st.Ctim.Nano()}, nil //nolint:unconvert // other widths elsewhere
}

// Unlink removes the file if device, inode and ctime are still those recorded. It returns nil, and removes nothing, if
// the file is gone or another has taken its place. No lock is held between the look and the removal: callers that
// race for a path must agree on one of their own.
//
// Without the socket, an inode number proves little: when a socket is gone, the next file may get that of its file. So
// ctime has to match too, which chmod and chown change. Who has the socket uses [Listener.Unlink], or Close.
func (p *UnixPath) Unlink() error { return p.remove(false) }

// remove is Unlink. held says that the caller has the socket: it holds on to the inode of the file that it is bound to,
// also when that was removed (unix_bind_bsd in net/unix/af_unix.c), so that no other file can have the number.
func (p *UnixPath) remove(held bool) error {
	if p == nil || p.Path == "" {
		return nil
	}
	now, err := StatUnixPath(p.Path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, ErrNotSocket):
		return nil
	case err != nil:
		return err
	case now.Dev != p.Dev, now.Ino != p.Ino, !held && now.Ctime != p.Ctime:
		return nil
	}
	if err := os.Remove(p.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
