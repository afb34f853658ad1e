package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// sock_diag(7) tells of the Unix sockets in the network namespace of the thread that asks. In contrast to /proc/net/unix,
// where the name of a socket may contain a line break and all that makes a line, nothing can be forged there.

var errDiag = errors.New("process: unexpected answer of sock_diag")

// What include/uapi/linux/sock_diag.h and unix_diag.h define, and package unix does not.
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagName     = 0  // UNIX_DIAG_NAME
	diagVFS      = 1  // UNIX_DIAG_VFS
	diagPeer     = 2  // UNIX_DIAG_PEER
	diagShowName = 1  // UDIAG_SHOW_NAME
	diagShowVFS  = 2  // UDIAG_SHOW_VFS
	diagShowPeer = 4  // UDIAG_SHOW_PEER
	diagHeader   = 16 // struct nlmsghdr
	diagRequest  = 24 // struct unix_diag_req
	diagAnswer   = 16 // struct unix_diag_msg
	diagAny      = 0xffffffff
)

// unixDiag is a struct unix_diag_msg, and the attributes that were asked for.
type unixDiag struct {
	typ, state uint8
	inode      uint32
	name       string // as net.Addr prints it
	dev, ino   uint32 // of the file that it is bound to; 12 and 20 bits, and the low 32 bits, as the kernel has them
	bound      bool
	peer       bool // it is connected, whatever its state says
}

// askUnix calls add with one socket, or with all of them if inode is 0.
func askUnix(inode, show uint32, add func(unixDiag)) error {
	n, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(n)
	e := binary.NativeEndian
	flags := uint16(unix.NLM_F_REQUEST)
	if inode == 0 {
		flags |= unix.NLM_F_DUMP
	}
	b := make([]byte, 0, diagHeader+diagRequest)
	b = e.AppendUint32(b, diagHeader+diagRequest)
	b = e.AppendUint16(b, diagByFamily)
	b = e.AppendUint16(b, flags)
	b = append(b, make([]byte, 8)...) // sequence number, port
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	for _, v := range []uint32{diagAny /* states */, inode, show, diagAny, diagAny /* cookie */} {
		b = e.AppendUint32(b, v)
	}
	if err := unix.Sendto(n, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	b = make([]byte, 64<<10)
	for {
		// The answer, or the next part of it, is there when sendto or the last recvfrom returns (netlink_dump).
		got, _, err := unix.Recvfrom(n, b, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		if done, err := parseDiag(b[:got], add); err != nil || done || inode != 0 {
			return err
		}
	}
}

// parseDiag takes one part of an answer apart, and reports whether it was the last of many.
func parseDiag(b []byte, add func(unixDiag)) (done bool, err error) {
	e := binary.NativeEndian
	for len(b) >= diagHeader {
		length, kind := int(e.Uint32(b)), e.Uint16(b[4:])
		if length < diagHeader || length > len(b) {
			return false, errDiag
		}
		body := b[diagHeader:length]
		b = b[min((length+3)&^3, len(b)):]
		switch {
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR && len(body) >= 4:
			return false, fmt.Errorf("process: sock_diag: %w", unix.Errno(-int32(e.Uint32(body))))
		case kind != diagByFamily || len(body) < diagAnswer || body[0] != unix.AF_UNIX:
			return false, errDiag
		}
		d := unixDiag{typ: body[1], state: body[2], inode: e.Uint32(body[4:])}
		if err := d.attributes(body[diagAnswer:]); err != nil {
			return false, err
		}
		add(d)
	}
	return false, nil
}

func (d *unixDiag) attributes(b []byte) error {
	e := binary.NativeEndian
	for len(b) >= 4 {
		length, kind := int(e.Uint16(b)), e.Uint16(b[2:])
		if length < 4 || length > len(b) {
			return errDiag
		}
		switch value := b[4:length]; {
		case kind == diagName && len(value) > 0 && value[0] == 0:
			d.name = "@" + string(value[1:])
		case kind == diagName:
			d.name = strings.TrimSuffix(string(value), "\x00")
		case kind == diagVFS && len(value) >= 8:
			d.ino, d.dev, d.bound = e.Uint32(value), e.Uint32(value[4:]), true
		case kind == diagPeer:
			d.peer = true
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return nil
}

// entry is what the line in /proc/net/unix would be, if that told who is connected. A unixgram socket is in the state of
// connected ones as soon as a client connects to it, and for ever (unix_dgram_connect in net/unix/af_unix.c); only one
// that has called connect(2) itself has a peer. d was asked for with diagShowPeer.
func (d unixDiag) entry() (entry, bool) {
	en := entry{network: unixNetwork(int(d.typ)), path: d.name, inode: uint64(d.inode), sure: true, state: unixUnconnected}
	switch {
	case d.state == tcpListen: // of all families
		en.flags = unixAccepting
	case d.peer, d.state == tcpEstablished && d.typ != unix.SOCK_DGRAM:
		en.state = unixConnected
	}
	return en, en.network != ""
}

// diagUnix calls add with the Unix sockets of a network namespace whose inodes are wanted. It reports false if that is not
// the one of this thread, or sock_diag does not work here.
func diagUnix(netNS uint64, wanted func(uint64) bool, add func(entry)) bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if own, ok := inodeOf(link, "net"); err != nil || !ok || own != netNS {
		return false
	}
	var found []entry
	if err := askUnix(0, diagShowName|diagShowPeer, func(d unixDiag) {
		if en, ok := d.entry(); ok && wanted(en.inode) {
			found = append(found, en)
		}
	}); err != nil {
		return false
	}
	for _, en := range found {
		add(en)
	}
	return true
}

// boundFile says which file the Unix socket with an inode is bound to.
func boundFile(socket uint32) (dev, ino uint32, err error) {
	var found unixDiag
	if err := askUnix(socket, diagShowVFS, func(d unixDiag) { found = d }); err != nil {
		return 0, 0, err
	}
	if found.inode != socket || !found.bound {
		return 0, 0, errDiag
	}
	return found.dev, found.ino, nil
}
