package process_test

import (
	"net"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/listener"
)

// connectTo connects a client to a unixgram socket, and sends it a datagram: to the kernel's tables, the server's socket is
// connected from then on, also when the client is gone (unix_dgram_connect in net/unix/af_unix.c).
func connectTo(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: address})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = c.Write([]byte("queued"))
	must(t, err)
	return c
}

// TestUnixgramConnected finds, and rescues, unixgram sockets that a client has connected to, and none that is connected
// itself.
func TestUnixgramConnected(t *testing.T) {
	dir := workDir(t, nil)
	old := play(t, nil, "hold", "rendezvous", "unixgram/"+dir+"/served", "unixgram/"+dir+"/left", "unixgram/@"+dir,
		"connected:unixgram/"+dir+"/client")
	old.line("holds " + dir + "/client")
	connectTo(t, dir+"/served")
	connectTo(t, "@"+dir)
	must(t, connectTo(t, dir+"/left").Close())
	want := []string{dir + "/left", dir + "/served", "@" + dir}

	p, err := process.Open(old.pid())
	must(t, err)
	defer p.Close()
	listed, err := p.List(bounded(t))
	must(t, err)
	every, _, err := process.All(bounded(t))
	must(t, err)
	for how, all := range map[string][]process.Socket{"List": listed, "All": every} {
		if got := unixgramsOf(all, old.pid()); !slices.Equal(got, want) {
			t.Errorf("%s finds %q, want %q", how, got, want)
		}
	}

	src := rescue(t, old)
	for _, address := range want {
		fd, _ := open(t, src, "unixgram", address)
		if fd == nil {
			t.Fatalf("%s is not rescued", address)
		}
		s, err := listener.PacketFromFD(fd, listener.Options{})
		must(t, err)
		defer s.Close()
		must(t, s.Open())
		b := make([]byte, 10)
		if n, _, err := s.ReadFrom(b); err != nil || string(b[:n]) != "queued" {
			t.Errorf("%s: what waited was lost: read %q, %v", address, b[:n], err)
		}
	}
	if fd, _ := open(t, src, "unixgram", dir+"/client"); fd != nil {
		t.Error("the socket of a client was rescued")
	}
}

// TestUnixgramConnectedElsewhere finds them in another network namespace too, where only /proc/net/unix tells of them.
func TestUnixgramConnectedElsewhere(t *testing.T) {
	needRoot(t)
	dir := workDir(t, nil)
	old := start(t, nil, unshared("hold", "unixgram/"+dir+"/served", "connected:unixgram/"+dir+"/client"))
	old.line("holds " + dir + "/client")
	connectTo(t, dir+"/served")
	every, _, err := process.All(bounded(t))
	must(t, err)
	if got, want := unixgramsOf(every, old.pid()), []string{dir + "/served"}; !slices.Equal(got, want) {
		t.Errorf("All finds %q, want %q", got, want)
	}
	p, err := process.Open(old.pid())
	must(t, err)
	defer p.Close()
	listed, err := p.List(bounded(t))
	must(t, err)
	if got, want := unixgramsOf(listed, old.pid()), []string{dir + "/served"}; !slices.Equal(got, want) {
		t.Errorf("List finds %q, want %q", got, want)
	}
}

// unixgramsOf returns the addresses of the unixgram sockets that a process has, in their order.
func unixgramsOf(all []process.Socket, pid int) (addresses []string) {
	for _, s := range all {
		if s.Network == "unixgram" && slices.ContainsFunc(s.Holders, func(h process.Holder) bool { return h.PID == pid }) {
			addresses = append(addresses, s.Address)
		}
	}
	slices.Sort(addresses)
	return addresses
}

// connectAway connects a packet socket to one that is gone at once.
func connectAway(sock syscall.Conn) error {
	to, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if err := unix.Bind(to, &unix.SockaddrUnix{}); err != nil { // autobind, unix(7)
		return err
	}
	name, err := unix.Getsockname(to)
	if err != nil {
		return err
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	if err := raw.Control(func(n uintptr) { opErr = unix.Connect(int(n), name) }); err != nil {
		return err
	}
	return opErr
}
