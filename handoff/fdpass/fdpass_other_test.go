//go:build !linux

package fdpass

import (
	"errors"
	"net"
	"testing"
)

func TestUnsupported(t *testing.T) {
	_, recv := Recv(nil, nil)
	_, recvAll := RecvAll(nil, nil, 1)
	_, try := TryRecv(nil, nil)
	_, open := OpenProcess(1)
	_, newErr := NewProcess(nil)
	var p Process
	_, get := p.Get(0)
	_, all := p.GetAll(nil)
	_, inode := p.GetInode(0, 0)
	_, reopen := p.Reopen(0, 0)
	_, own := Reopen(nil, 0)
	for i, err := range []error{
		Send(nil, []byte("x")), SendAll[*net.TCPConn](nil, nil, nil), recv, recvAll, try, PassCred(nil, true),
		open, newErr, p.Alive(), get, all, inode, reopen, own,
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%d: got %v", i, err)
		}
	}
	if p.PID() != 0 || p.Close() != nil {
		t.Error("it is a process")
	}
}
