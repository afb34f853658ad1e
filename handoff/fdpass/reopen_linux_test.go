package fdpass

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReopen(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		it := startTarget(t, nil)
		p := it.open(t)
		if _, err := p.Reopen(999, os.O_RDONLY); !errors.Is(err, ErrNotOpen) { // it has its directory open now
			t.Fatal(err)
		}
		noNewFDs(t, func() {
			for _, tt := range []struct {
				name  string
				flags int
				want  string // what there is to read
			}{
				{"file", os.O_RDONLY, "file"},
				{"file", os.O_RDWR | unix.O_NONBLOCK, "file"},
				{"file", os.O_RDWR | os.O_APPEND, "file"},
				{"deleted", os.O_RDONLY, "deleted"},
				{"memfd", os.O_RDWR, "memfd"},
				{"null", os.O_RDWR, ""},
				{"file", os.O_RDWR | os.O_TRUNC, ""},
			} {
				fd, err := p.Reopen(it.has[tt.name], tt.flags)
				if err != nil {
					t.Errorf("%s: %v", tt.name, err)
					continue
				}
				const all = unix.O_ACCMODE | unix.O_NONBLOCK | unix.O_APPEND
				st, fdFlags := flags(t, fd)
				if st&all != tt.flags&all || fdFlags&unix.FD_CLOEXEC == 0 {
					t.Errorf("%s: flags %#x, %#x; want %#x", tt.name, st, fdFlags, tt.flags)
				}
				var b []byte
				control(t, fd, func(n int) { // from the start, although the other's offset is at the end
					b, err = io.ReadAll(reader(n))
				})
				if err != nil || string(b) != tt.want {
					t.Errorf("%s: read %q, %v", tt.name, b, err)
				}
				fd.Close()
			}
		})
	})
}

type reader int

func (r reader) Read(b []byte) (int, error) {
	n, err := unix.Read(int(r), b)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

func TestReopenFIFO(t *testing.T) {
	it := startTarget(t, nil)
	p := it.open(t)
	r, err := p.Reopen(it.has["fifo"], os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := p.Reopen(it.has["fifo"], os.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	control(t, w, func(n int) {
		if _, err := unix.Write(n, []byte("x")); err != nil {
			t.Fatal(err)
		}
	})
	control(t, r, func(n int) {
		if n, err := unix.Read(n, make([]byte, 10)); n != 1 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
	})
	if st, _ := flags(t, r); st&unix.O_NONBLOCK != 0 {
		t.Error("O_NONBLOCK is left")
	}
	if _, err := p.Reopen(it.has["unread"], os.O_WRONLY); !errors.Is(err, unix.ENXIO) || !strings.Contains(err.Error(), "reading") {
		t.Errorf("nobody reads: %v", err)
	}
}

func TestReopenErrors(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		it := startTarget(t, nil)
		p := it.open(t)
		for _, tt := range []struct {
			n, flags int
			want     error
			says     string
		}{
			{it.has["socket"], os.O_RDWR, ErrSocket, "pidfd_getfd"},
			{it.has["eventfd"], os.O_RDWR, ErrAnonymous, "pidfd_getfd"},
			{999, os.O_RDONLY, ErrNotOpen, ""},
			{-1, os.O_RDONLY, ErrNotOpen, ""},
			{it.has["file"], os.O_CREATE, unix.EINVAL, "O_CREAT"},
			{it.has["file"], os.O_RDONLY | unix.O_TMPFILE, unix.EINVAL, "O_TMPFILE"},
			{it.has["file"], os.O_RDONLY | unix.O_PATH, unix.EINVAL, "O_PATH"},
			{it.has["file"], os.O_RDONLY | unix.O_DIRECTORY, unix.ENOTDIR, ""},
		} {
			fd, err := p.Reopen(tt.n, tt.flags)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || fd != nil {
				t.Errorf("descriptor %d, flags %#x: got %v, want %v", tt.n, tt.flags, err, tt.want)
			}
			t.Log(err)
		}
		noNewFDs(t, func() {
			restore := onlyFree(t, 0)
			_, err := p.Reopen(it.has["file"], os.O_RDONLY)
			restore()
			if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
				t.Errorf("no room: %v", err)
			}
		})
		if os.Getuid() != 0 { // root may open everything
			_, err := p.Reopen(it.has["secret"], os.O_RDONLY)
			if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "mode") {
				t.Errorf("a file with mode 0: %v", err)
			}
			t.Log(err)
		}
	})
}

// What was received can be opened again, with an offset of its own.
func TestReopenOwn(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	fd, err := Reopen(f, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	own := fd.File("own")
	defer own.Close()
	if b, err := io.ReadAll(own); err != nil || string(b) != "text" {
		t.Errorf("read %q, %v", b, err)
	}
	one := sockets(t, 1)
	if _, err := Reopen(one[0], os.O_RDWR); !errors.Is(err, ErrSocket) {
		t.Errorf("a socket: %v", err)
	}
	if _, err := Reopen(f, os.O_CREATE); !errors.Is(err, unix.EINVAL) {
		t.Errorf("O_CREAT: %v", err)
	}
	one[0].Close()
	if _, err := Reopen(one[0], os.O_RDWR); err == nil {
		t.Error("a closed one was reopened")
	}
}

// A received file stays out of the poller unless it does not block, and keeps its flags.
func TestFileAndPoller(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	for _, flag := range []int{0, unix.O_NONBLOCK} {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|flag); err != nil {
			t.Fatal(err)
		}
		r, w := os.NewFile(uintptr(p[0]), "r"), os.NewFile(uintptr(p[1]), "w")
		defer r.Close()
		defer w.Close()
		if err := Send(a, []byte("x"), r); err != nil {
			t.Fatal(err)
		}
		m, err := Recv(b, make([]byte, 1))
		if err != nil {
			t.Fatal(err)
		}
		f := m.FDs[0].File("pipe")
		st, fdFlags := flags(t, f)
		if st&unix.O_NONBLOCK != flag || fdFlags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %#x, %#x", st, fdFlags)
		}
		// A deadline works in the poller only.
		err = f.SetReadDeadline(time.Now().Add(time.Hour))
		if inPoller := err == nil; inPoller != (flag != 0) {
			t.Errorf("O_NONBLOCK %#x: in the poller %v, %v", flag, inPoller, err)
		}
		m.Close()
		f.Close()
	}
}
