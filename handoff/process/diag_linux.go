package process

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/sockdiag"
)

// diagEntry is what the line in /proc/net/unix would be, if that told who is connected. A unixgram socket is in the state of
// connected ones as soon as a client connects to it, and for ever (unix_dgram_connect in net/unix/af_unix.c); only one
// that has called connect(2) itself has a peer. d was asked for with sockdiag.ShowPeer.
func diagEntry(d sockdiag.Unix) (entry, bool) {
	en := entry{network: unixNetwork(int(d.Type)), path: d.Name, inode: uint64(d.Inode), sure: true, state: unixUnconnected}
	switch {
	case d.State == tcpListen: // of all families
		en.flags = unixAccepting
	case d.Peer, d.State == tcpEstablished && d.Type != unix.SOCK_DGRAM:
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
	if err := sockdiag.Ask(0, sockdiag.ShowName|sockdiag.ShowPeer, func(d sockdiag.Unix) {
		if en, ok := diagEntry(d); ok && wanted(en.inode) {
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
