package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRunReadyFile: it is there while a process serves, and only then. One of a process that was killed is removed first.
func TestRunReadyFile(t *testing.T) {
	dir := t.TempDir()
	broken, ready := filepath.Join(dir, "broken"), filepath.Join(dir, "ready")
	there := func() bool { _, err := os.Stat(ready); return err == nil }
	must(t, os.WriteFile(ready, nil, 0o600))
	must(t, os.WriteFile(broken, []byte("hang"), 0o600))
	s := python(t, []string{"BROKEN=" + broken}, "--ready", "notify", "--ready-file", ready, "--stop-timeout", "300ms")
	s.has("msg=started", 1)
	if there() {
		t.Error("a file of another process is left when COMMAND starts")
	}
	s.signal(unix.SIGTERM)
	s.ends()

	must(t, os.Remove(broken))
	s = python(t, []string{"BROKEN=" + broken}, "--ready", "notify", "--ready-file", ready, "--stop-timeout", "300ms")
	s.eventually("the file", there)
	must(t, os.WriteFile(broken, []byte("hang"), 0o600))
	must(t, unix.Kill(s.asks(), unix.SIGKILL))
	s.has("msg=started", 2)
	if there() {
		t.Error("nobody serves, and the file is there")
	}
	must(t, os.Remove(broken))
	said := s.said()
	_, after, _ := strings.Cut(said[strings.LastIndex(said, "msg=started"):], "pid=")
	hangs, err := strconv.Atoi(strings.Fields(after)[0])
	must(t, err)
	must(t, unix.Kill(hangs, unix.SIGKILL))
	s.eventually("the file again", there)
	s.signal(unix.SIGTERM)
	s.ends()
	if there() {
		t.Error("the file is left")
	}
}

// TestRunNotifies is systemd: it wants to hear of readiness, reloads and the end, and to be fed.
func TestRunNotifies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer conn.Close()
	hears := func(want string) {
		t.Helper()
		must(t, conn.SetReadDeadline(time.Now().Add(patience)))
		for b := make([]byte, 4<<10); ; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("%q is not said: %v", want, err)
			}
			if strings.HasPrefix(string(b[:n]), want) {
				return
			}
		}
	}
	s := python(t, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=200000"}, "--ready", "notify")
	hears("READY=1\nSTATUS=process ")
	hears("WATCHDOG=1")
	s.signal(unix.SIGHUP)
	hears("RELOADING=1\nMONOTONIC_USEC=")
	hears("READY=1\nSTATUS=process ")
	hears("WATCHDOG=1")
	s.signal(unix.SIGTERM)
	hears("STOPPING=1")
	s.ends()

	s = supervised(t, nil, []string{"NOTIFY_SOCKET=" + path}, "--ready", "1ms", "--", "sleep", "3600")
	hears("READY=1")
	s.signal(unix.SIGHUP) // is refused
	hears("RELOADING=1\nMONOTONIC_USEC=")
	hears("READY=1")
}
