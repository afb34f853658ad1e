package fdpass

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/internal/kernel"
	"github.com/segue-go/segue/listener"
)

// wantSelf checks that m says that this process sent it.
func wantSelf(t *testing.T, m *Message) {
	t.Helper()
	if m.Cred == nil || *m.Cred != (Cred{PID: os.Getpid(), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}) {
		t.Errorf("got credentials %+v", m.Cred)
	}
	if m.PidFD == nil {
		t.Fatal("no pidfd")
	}
	if _, fdFlags := flags(t, m.PidFD); fdFlags&unix.FD_CLOEXEC == 0 {
		t.Error("the pidfd is not close-on-exec")
	}
	control(t, m.PidFD, func(n int) {
		if err := unix.PidfdSendSignal(n, 0, nil, 0); err != nil {
			t.Errorf("no pidfd: %v", err)
		}
	})
}

func recvNow(t *testing.T, c *net.UnixConn) *Message {
	t.Helper()
	m, err := TryRecv(c, make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func TestPassCred(t *testing.T) {
	kernel.Need(t, kernel.PassPidFD)
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		send := func() {
			if err := Send(a, []byte("x"), events(t, 2)...); err != nil {
				t.Fatal(err)
			}
		}
		send()
		if err := PassCred(b, true); err != nil {
			t.Fatal(err)
		}
		send()
		if m := recvNow(t, b); m.Cred == nil || m.Cred.PID != 0 || m.PidFD != nil {
			t.Errorf("sent before PassCred: got %+v, %+v", m.Cred, m.PidFD)
		}
		m := recvNow(t, b)
		wantSelf(t, m)
		if len(m.FDs) != 2 {
			t.Errorf("got %d descriptors", len(m.FDs))
		}
		if err := PassCred(b, false); err != nil {
			t.Fatal(err)
		}
		send()
		if m := recvNow(t, b); m.Cred != nil || m.PidFD != nil {
			t.Errorf("switched off: got %+v, %+v", m.Cred, m.PidFD)
		}
	})
}

// Whoever sent while its own end asked for credentials is known, whenever the receiver begins to ask.
func TestPassCredBySender(t *testing.T) {
	kernel.Need(t, kernel.PassPidFD)
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		if err := PassCred(a, true); err != nil {
			t.Fatal(err)
		}
		if err := Send(a, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := PassCred(b, true); err != nil {
			t.Fatal(err)
		}
		wantSelf(t, recvNow(t, b))
	})
}

func TestPassCredOfListener(t *testing.T) {
	kernel.Need(t, kernel.PassPidFD)
	addr := &net.UnixAddr{Net: "unixpacket", Name: filepath.Join(t.TempDir(), "s")}
	ln, err := net.ListenUnix("unixpacket", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := ln.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	connect := func() *net.UnixConn {
		c, err := net.DialUnix("unixpacket", nil, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	accept := func() *net.UnixConn {
		s, err := ln.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Run("sent before accept", func(t *testing.T) {
		c := connect()
		if err := Send(c, []byte("x")); err != nil {
			t.Fatal(err)
		}
		s := accept()
		if err := PassCred(s, true); err != nil {
			t.Fatal(err)
		}
		wantSelf(t, recvNow(t, s))
	})
	t.Run("inherited", func(t *testing.T) {
		if err := PassCred(ln, true); err != nil {
			t.Fatal(err)
		}
		c := connect()
		s := accept()
		inherits := 0
		control(t, s, func(n int) {
			if inherits, err = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_PASSPIDFD); err != nil {
				t.Fatal(err)
			}
		})
		if inherits == 0 {
			t.Error("an accepted connection does not inherit SO_PASSPIDFD")
		}
		if err := Send(c, []byte("x")); err != nil {
			t.Fatal(err)
		}
		wantSelf(t, recvNow(t, s))
	})
}

// A sender that has died and been reaped is named nevertheless; since Linux 6.17 a pidfd comes too.
func TestPassCredOfReaped(t *testing.T) {
	kernel.Need(t, kernel.PassPidFD)
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		if err := PassCred(b, true); err != nil {
			t.Fatal(err)
		}
		dup, err := listener.Dup(a)
		if err != nil {
			t.Fatal(err)
		}
		f := dup.File("stdout")
		defer f.Close()
		cmd := exec.Command("echo", "hello")
		cmd.Stdout = f
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		m := recvNow(t, b)
		if m.Cred == nil || m.Cred.PID != cmd.Process.Pid || string(m.Payload) != "hello\n" {
			t.Errorf("got %+v, %q; want process %d", m.Cred, m.Payload, cmd.Process.Pid)
		}
		if m.PidFD == nil {
			kernel.Need(t, kernel.Reaped)
			t.Fatal("no pidfd")
		}
		control(t, m.PidFD, func(n int) {
			if err := unix.PidfdSendSignal(n, 0, nil, 0); err != unix.ESRCH {
				t.Errorf("got %v", err)
			}
		})
	})
}
