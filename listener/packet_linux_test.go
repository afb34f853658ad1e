package listener

import (
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// rawReader reads as libraries for QUIC do.
func rawReader(raw syscall.RawConn) reader {
	return func(b []byte) (n int, err error) {
		n = 0
		waitErr := raw.Read(func(fd uintptr) bool {
			n, _, err = unix.Recvfrom(int(fd), b, 0)
			return err != unix.EAGAIN
		})
		n = max(n, 0)
		if waitErr != nil {
			return n, waitErr
		}
		return n, os.NewSyscallError("recvfrom", err)
	}
}

func TestPacketFromFD(t *testing.T) {
	for _, network := range []string{"udp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			first := listenPacket(t, network)
			fd, err := Dup(first)
			must(t, err)
			before, err := Describe(fd)
			must(t, err)
			p, err := PacketFromFD(fd, Options{})
			must(t, err)
			defer p.Close()
			if err := fd.Control(nil); err != net.ErrClosed {
				t.Errorf("the descriptor was not taken: %v", err)
			}
			if after, err := Describe(p); err != nil || after != before {
				t.Errorf("it has become %+v, was %+v; %v", after, before, err)
			}
			if p.LocalAddr().String() != first.LocalAddr().String() {
				t.Errorf("its address is %v", p.LocalAddr())
			}
			client := dial(t, p.LocalAddr())
			_, err = client.Write([]byte("hello"))
			must(t, err)
			must(t, p.Open())
			if got := within(t, "read", read(t, p, readers(t, p)["ReadFrom"])); got.text != "hello" || got.err != nil {
				t.Errorf("read %q, %v", got.text, got.err)
			}
		})
	}
}
