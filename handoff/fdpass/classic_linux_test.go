package fdpass

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// compile compiles a C program in testdata.
func compile(t *testing.T, name string) string {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		skip(t, fmt.Sprintf("missing: a C compiler (%v), which this test compiles %s with; for example: apt-get install gcc libc6-dev; or set CC", err, name))
	}
	out := filepath.Join(t.TempDir(), "program")
	if msg, err := exec.CommandContext(t.Context(), cc, "-std=gnu99", "-O1", "-Wall", "-Werror", "-o", out, filepath.Join("testdata", name)).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", cc, name, err, msg)
	}
	return out
}

// A C program that follows the classic pattern sends to us and receives from us.
func TestClassic(t *testing.T) {
	program := compile(t, "classic.c")
	receive := map[string]func(*net.UnixConn, []byte) (*Message, error){
		"Recv":    Recv,
		"RecvAll": func(c *net.UnixConn, b []byte) (*Message, error) { return RecvAll(c, b, 1) },
	}
	send := map[string]func(*net.UnixConn, []byte, syscall.Conn) error{
		"Send":    func(c *net.UnixConn, b []byte, fd syscall.Conn) error { return Send(c, b, fd) },
		"SendAll": func(c *net.UnixConn, b []byte, fd syscall.Conn) error { return SendAll(c, b, []syscall.Conn{fd}) },
	}
	for _, st := range sockTypes {
		for _, kind := range []string{"file", "pipe", "listener"} {
			for _, bytes := range []int{1, 8} {
				for name, recv := range receive {
					t.Run(fmt.Sprintf("%s/%s/%d/%s", st.name, kind, bytes, name), func(t *testing.T) {
						c, wait := startClassic(t, program, st.typ, "send", kind, bytes)
						m, err := recv(c, make([]byte, 100))
						if err != nil {
							t.Fatal(err)
						}
						defer m.Close()
						if string(m.Payload) != "classic\x00"[:bytes] || len(m.FDs) != 1 {
							t.Fatalf("got %+v", m)
						}
						use(t, kind, m)
						if _, err := c.Write([]byte("k")); err != nil {
							t.Fatal(err)
						}
						wait()
					})
				}
				for name, send := range send {
					t.Run(fmt.Sprintf("%s/%s/%d/%s", st.name, kind, bytes, name), func(t *testing.T) {
						c, wait := startClassic(t, program, st.typ, "recv", kind, bytes)
						conn, after := provide(t, kind)
						if err := send(c, make([]byte, bytes), conn); err != nil {
							t.Fatal(err)
						}
						after()
						if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
							t.Fatal(err)
						}
						wait()
					})
				}
			}
		}
	}
}

func startClassic(t *testing.T, program string, typ int, verb, kind string, bytes int) (c *net.UnixConn, wait func()) {
	t.Helper()
	nums, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0) // its end blocks, as C programs expect
	if err != nil {
		t.Fatal(err)
	}
	c = unixConn(t, nums[0])
	its := os.NewFile(uintptr(nums[1]), "socket")
	defer its.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, verb, kind, strconv.Itoa(bytes))
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{its}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := false
	t.Cleanup(func() {
		if !done {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return c, func() {
		done = true
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// use does with the descriptor what it is for.
func use(t *testing.T, kind string, m *Message) {
	t.Helper()
	if _, f := flags(t, m.FDs[0]); f&unix.FD_CLOEXEC == 0 {
		t.Error("it is not close-on-exec")
	}
	if kind != "listener" {
		f := m.FDs[0].File(kind)
		defer f.Close()
		b := make([]byte, 100)
		if n, err := f.Read(b); err != nil || string(b[:n]) != "from C" {
			t.Errorf("read %q, %v", b[:n], err)
		}
		return
	}
	l, err := listener.FromFD(m.FDs[0], listener.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Open(); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s, err := l.Accept(); err != nil {
		t.Error(err)
	} else {
		s.Close()
	}
}

// provide makes a descriptor to send, with "from Go" in it; after is what is to be done when it was sent.
func provide(t *testing.T, kind string) (c syscall.Conn, after func()) {
	t.Helper()
	after = func() {}
	if kind == "listener" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		// The C program expects one that blocks.
		fd, err := listener.Dup(l.(*net.TCPListener))
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fd.Close() })
		control(t, fd, func(n int) {
			if err := unix.SetNonblock(n, false); err != nil {
				t.Fatal(err)
			}
		})
		return fd, func() {
			d, err := net.DialTimeout("tcp", l.Addr().String(), patience)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if b, err := io.ReadAll(d); err != nil || string(b) != "from C" {
				t.Errorf("read %q, %v", b, err)
			}
		}
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if kind == "pipe" {
		f.Close()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		if _, err := w.WriteString("from Go"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r, after
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString("from Go"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f, after
}
