package driver

import (
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// TestRendezvousKinds: a listener of another kind would make something else than callers.
func TestRendezvousKinds(t *testing.T) {
	dir := t.TempDir()
	stream, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	connected, other := listener.NewFD(pair[0]), listener.NewFD(pair[1])
	defer connected.Close()
	defer other.Close()
	tcpFD, err1 := listener.Dup(tcp.(*net.TCPListener))
	streamFD, err2 := listener.Dup(stream.(*net.UnixListener))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for what, fd := range map[string]*listener.FD{"tcp": tcpFD, "unix": streamFD, "not listening": connected} {
		d := &Driver{}
		d.keeper.Path = rendezvous.Path(filepath.Join(dir, "r"))
		p := &predecessor{d: d}
		fds := []*listener.FD{fd}
		err := p.takeOffer(&wire.Offer{Items: []wire.Item{{Name: "r", Kind: wire.KindRendezvous}}}, fds, 0)
		if err == nil || d.keeper.Socket() != nil {
			t.Errorf("%s: taken for a rendezvous (%v)", what, err)
		}
	}
}
