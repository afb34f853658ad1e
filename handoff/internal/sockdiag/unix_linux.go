package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

var errDiag = errors.New("unexpected answer of sock_diag")

// What include/uapi/linux/sock_diag.h and unix_diag.h define, and package unix does not.
const (
	byFamily   = 20 // SOCK_DIAG_BY_FAMILY
	attrName   = 0  // UNIX_DIAG_NAME
	attrVFS    = 1  // UNIX_DIAG_VFS
	attrPeer   = 2  // UNIX_DIAG_PEER
	attrQueue  = 4  // UNIX_DIAG_RQLEN
	headerLen  = 16 // struct nlmsghdr
	requestLen = 24 // struct unix_diag_req
	answerLen  = 16 // struct unix_diag_msg
	anything   = 0xffffffff
)

// Show says what is asked for, beside type and state. Several are joined by |.
type Show uint32

// What can be asked for, as include/uapi/linux/unix_diag.h has it.
const (
	ShowName  Show = 1  // UDIAG_SHOW_NAME
	ShowFile  Show = 2  // UDIAG_SHOW_VFS
	ShowPeer  Show = 4  // UDIAG_SHOW_PEER
	ShowQueue Show = 16 // UDIAG_SHOW_RQLEN
)

// Unix is a struct unix_diag_msg, and the attributes that were asked for.
type Unix struct {
	Type, State uint8 // SOCK_*; TCP_* in include/net/tcp_states.h, which holds for all families
	Inode       uint32
	Name        string // as net.Addr prints it
	Dev, Ino    uint32 // of the file that it is bound to; 12 and 20 bits, and the low 32 bits, as the kernel has them
	Bound       bool   // to a file
	Peer        bool   // it is connected, whatever its state says
	Backlog     uint32 // of a listening socket: how many connections may wait
}

// Ask calls add with one socket, or with all of them if inode is 0. An error is one of the system.
func Ask(inode uint32, show Show, add func(Unix)) error {
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
	b := make([]byte, 0, headerLen+requestLen)
	b = e.AppendUint32(b, headerLen+requestLen)
	b = e.AppendUint16(b, byFamily)
	b = e.AppendUint16(b, flags)
	b = append(b, make([]byte, 8)...) // sequence number, port
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	for _, v := range []uint32{anything /* states */, inode, uint32(show), anything, anything /* cookie */} {
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
		if done, err := parse(b[:got], add); err != nil || done || inode != 0 {
			return err
		}
	}
}

// parse takes one part of an answer apart, and reports whether it was the last of many.
func parse(b []byte, add func(Unix)) (done bool, err error) {
	e := binary.NativeEndian
	for len(b) >= headerLen {
		length, kind := int(e.Uint32(b)), e.Uint16(b[4:])
		if length < headerLen || length > len(b) {
			return false, errDiag
		}
		body := b[headerLen:length]
		b = b[min((length+3)&^3, len(b)):]
		switch {
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR && len(body) >= 4:
			return false, fmt.Errorf("sock_diag: %w", unix.Errno(-int32(e.Uint32(body))))
		case kind != byFamily || len(body) < answerLen || body[0] != unix.AF_UNIX:
			return false, errDiag
		}
		d := Unix{Type: body[1], State: body[2], Inode: e.Uint32(body[4:])}
		if err := d.attributes(body[answerLen:]); err != nil {
			return false, err
		}
		add(d)
	}
	return false, nil
}

func (d *Unix) attributes(b []byte) error {
	e := binary.NativeEndian
	for len(b) >= 4 {
		length, kind := int(e.Uint16(b)), e.Uint16(b[2:])
		if length < 4 || length > len(b) {
			return errDiag
		}
		switch value := b[4:length]; {
		case kind == attrName && len(value) > 0 && value[0] == 0:
			d.Name = "@" + string(value[1:])
		case kind == attrName:
			d.Name = strings.TrimSuffix(string(value), "\x00")
		case kind == attrVFS && len(value) >= 8:
			d.Ino, d.Dev, d.Bound = e.Uint32(value), e.Uint32(value[4:]), true
		case kind == attrPeer:
			d.Peer = true
		case kind == attrQueue && len(value) >= 8:
			d.Backlog = e.Uint32(value[4:]) // of who does not listen it is the size of a buffer (sk_diag_show_rqlen)
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return nil
}

// BoundFile says which file the Unix socket with an inode is bound to.
func BoundFile(socket uint32) (dev, ino uint32, err error) {
	d, err := one(socket, ShowFile)
	if err == nil && !d.Bound {
		err = errDiag
	}
	return d.Dev, d.Ino, err
}

// Backlog says how many connections may wait in the queue of the listening Unix socket with an inode.
func Backlog(socket uint32) (int, error) {
	d, err := one(socket, ShowQueue)
	return int(d.Backlog), err
}

func one(socket uint32, show Show) (Unix, error) {
	var found Unix
	err := Ask(socket, show, func(d Unix) { found = d })
	if err == nil && found.Inode != socket {
		err = errDiag
	}
	return found, err
}
