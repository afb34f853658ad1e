package handoff_test

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func setV6Only(_, _ string, c syscall.RawConn) error {
	var opErr error
	if err := c.Control(func(fd uintptr) { opErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) }); err != nil {
		return err
	}
	return opErr
}

// TestSetAtBirth: what only a bind can set, and the socket of the predecessor does not have, is said in the log.
func TestSetAtBirth(t *testing.T) {
	multipath := func(on bool) net.ListenConfig {
		var lc net.ListenConfig
		lc.SetMultipathTCP(on)
		return lc
	}
	const control, differs = "ListenConfig.Control is not called for a socket that exists already", "a socket is not what this program would bind"
	for _, tt := range []struct {
		name     string
		old, new net.ListenConfig
		want     []string
		never    []string
	}{
		{"nothing", net.ListenConfig{}, net.ListenConfig{}, nil, []string{control, differs}},
		{"control", net.ListenConfig{}, net.ListenConfig{Control: func(string, string, syscall.RawConn) error { return nil }}, []string{control}, []string{differs}},
		{"multipath off", multipath(true), multipath(false), []string{differs, "setting=\"multipath TCP\""}, []string{control}},
		{"IPv6 only", net.ListenConfig{Control: setV6Only}, net.ListenConfig{}, []string{differs, "setting=IPV6_V6ONLY"}, []string{control}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if b, err := os.ReadFile("/proc/sys/net/mptcp/enabled"); tt.name == "multipath off" && (err != nil || strings.TrimSpace(string(b)) != "1") {
				t.Skip("this kernel has no multipath TCP")
			}
			path := rendezvous(t)
			c, log := logged(t, path)
			c.ListenConfig = tt.old
			a := join(t, c)
			listen(t, a, "tcp", ":0")
			listenPacket(t, a, "udp", ":0")
			listen(t, a, "tcp", "[::]:0")
			ready(t, a)
			if s := log.String(); strings.Contains(s, control) || strings.Contains(s, differs) {
				t.Errorf("said of a socket that was bound:\n%s", s)
			}
			c.ListenConfig = tt.new
			b := join(t, c)
			listen(t, b, "tcp", ":0")
			listenPacket(t, b, "udp", ":0")
			listen(t, b, "tcp", "[::]:0")
			supersede(t, a, b)
			s := log.String()
			for _, w := range tt.want {
				if !strings.Contains(s, w) {
					t.Errorf("the log does not say %q:\n%s", w, s)
				}
			}
			for _, n := range tt.never {
				if strings.Contains(s, n) {
					t.Errorf("the log says %q:\n%s", n, s)
				}
			}
			if n := strings.Count(s, control); n > 1 {
				t.Errorf("the log says %d times that Control is not called", n)
			}
		})
	}
}
