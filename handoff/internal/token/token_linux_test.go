package token

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// TestTokenKinds: what is no eventfd is no token. From a pipe or a memfd a 1 could be read twice.
func TestTokenKinds(t *testing.T) {
	one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	pipe := func() (int, error) {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return -1, err
		}
		_, err := unix.Write(p[1], one)
		return p[0], closing(p[1], err)
	}
	for _, tt := range []struct {
		name string
		open func() (int, error)
		ok   bool
	}{
		{"eventfd", func() (int, error) { return unix.Eventfd(1, unix.EFD_CLOEXEC) }, true},
		{"pipe", pipe, false},
		{"memfd", func() (int, error) {
			n, err := unix.MemfdCreate("token", unix.MFD_CLOEXEC)
			if err == nil {
				_, err = unix.Pwrite(n, one, 0)
			}
			return n, err
		}, false},
		{"socket", func() (int, error) {
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				_, err = unix.Write(p[1], one)
			}
			return p[0], closing(p[1], err)
		}, false},
		{"file", func() (int, error) { return unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0) }, false},
		{"epoll", func() (int, error) { return unix.EpollCreate1(unix.EPOLL_CLOEXEC) }, false},
		{"timer", func() (int, error) { return unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC) }, false},
		{"signals", func() (int, error) { return unix.Signalfd(-1, &unix.Sigset_t{}, unix.SFD_CLOEXEC) }, false},
		{"inotify", func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC) }, false},
		{"pidfd", func() (int, error) { return unix.PidfdOpen(os.Getpid(), 0) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := tt.open()
			if err != nil {
				t.Fatal(err)
			}
			token, err := Adopt(listener.NewFD(n))
			if (err == nil) != tt.ok {
				t.Fatalf("Adopt: %v", err)
			}
			if !tt.ok {
				return
			}
			defer token.Close()
			for _, want := range []bool{true, false} {
				if got, err := token.Take(); got != want || err != nil {
					t.Errorf("Take: %v, %v", got, err)
				}
			}
		})
	}
}

// TestPutTwice: a token that was put back twice is one token.
func TestPutTwice(t *testing.T) {
	token, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	if err := token.Put(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if got, err := token.Take(); got != want || err != nil {
			t.Errorf("Take: %v, %v", got, err)
		}
	}
}

func closing(n int, err error) error {
	_ = unix.Close(n)
	return err
}
