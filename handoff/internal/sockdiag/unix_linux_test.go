package sockdiag

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// TestUnix asks about sockets of this process.
func TestUnix(t *testing.T) {
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var socket, file unix.Stat_t
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var opErr error
	if err := raw.Control(func(fd uintptr) {
		if opErr = unix.Listen(int(fd), 3); opErr == nil {
			opErr = unix.Fstat(int(fd), &socket)
		}
	}); err != nil || opErr != nil {
		t.Fatal(err, opErr)
	}
	if err := unix.Stat(path, &file); err != nil {
		t.Fatal(err)
	}
	if n, err := Backlog(uint32(socket.Ino)); err != nil || n != 3 {
		t.Errorf("the backlog is %d, %v, want 3", n, err)
	}
	if dev, ino, err := BoundFile(uint32(socket.Ino)); err != nil || ino != uint32(file.Ino) || dev != unix.Major(file.Dev)<<20|unix.Minor(file.Dev) {
		t.Errorf("bound to %d of %d, %v, want %d of %d", ino, dev, err, file.Ino, file.Dev)
	}
	found := 0
	if err := Ask(0, ShowName, func(d Unix) {
		if d.Name == path {
			found++
		}
	}); err != nil || found != 1 {
		t.Errorf("found it %d times, %v", found, err)
	}
	if _, err := Backlog(1<<32 - 1); err == nil {
		t.Error("there is a backlog of no socket")
	}
}

func FuzzUnix(f *testing.F) {
	var one []byte
	if err := Ask(0, ShowName|ShowQueue, func(Unix) {}); err != nil {
		f.Fatal(err)
	}
	for _, d := range []Unix{{Type: 1, State: 10, Inode: 7, Name: "/run/s", Backlog: 5}, {Type: 5, State: 1, Inode: 8, Name: "@a\nb"}, {Type: 2, State: 7, Inode: 9}, {Type: 2, State: 1, Inode: 10, Peer: true}} {
		one = append(one, d.message()...)
		f.Add(d.message())
	}
	f.Add(one)
	f.Fuzz(func(t *testing.T, b []byte) {
		var found []Unix
		done, err := parse(b, func(d Unix) { found = append(found, d) })
		if done || err != nil {
			return
		}
		var again []byte
		for _, d := range found {
			again = append(again, d.message()...)
		}
		i := 0
		if _, err := parse(again, func(d Unix) {
			if d != found[i] {
				t.Errorf("%+v became %+v", found[i], d)
			}
			i++
		}); err != nil || i != len(found) {
			t.Errorf("%+v: %d of %d, %v", found, i, len(found), err)
		}
	})
}

// message prints d as the kernel does.
func (d Unix) message() []byte {
	e := binary.NativeEndian
	attribute := func(b []byte, kind uint16, value []byte) []byte {
		b = e.AppendUint16(b, uint16(4+len(value)))
		b = append(e.AppendUint16(b, kind), value...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	b := []byte{unix.AF_UNIX, d.Type, d.State, 0}
	b = append(e.AppendUint32(b, d.Inode), make([]byte, 8)...)
	switch {
	case strings.HasPrefix(d.Name, "@"):
		b = attribute(b, attrName, append([]byte{0}, d.Name[1:]...))
	case d.Name != "":
		b = attribute(b, attrName, append([]byte(d.Name), 0))
	}
	if d.Peer {
		b = attribute(b, attrPeer, e.AppendUint32(nil, 1))
	}
	if d.Bound {
		b = attribute(b, attrVFS, e.AppendUint32(e.AppendUint32(nil, d.Ino), d.Dev))
	}
	if d.Backlog != 0 {
		b = attribute(b, attrQueue, e.AppendUint32(e.AppendUint32(nil, 1), d.Backlog))
	}
	h := e.AppendUint32(nil, uint32(headerLen+len(b)))
	h = e.AppendUint16(h, byFamily)
	return append(append(h, make([]byte, headerLen-len(h))...), b...)
}
