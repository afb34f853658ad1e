package supervise

import (
	"net"
	"os"
	"slices"
	"strings"
)

// notifySocket is where one process says that it is ready (sd_notify(3)). It has one of its own, so that nobody else's
// message counts for it.
type notifySocket struct {
	path string
	conn *net.UnixConn
}

func listenNotify(path string) (*notifySocket, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return &notifySocket{path, conn}, nil
}

func (n *notifySocket) close() {
	_ = n.conn.Close()
	_ = os.Remove(n.path)
}

// read calls ready at the first READY=1, and reads on until the socket is closed, since who writes to a full one waits.
// Descriptors that come along are closed by the kernel, which is what a barrier waits for (sd_notify_barrier(3)).
func (n *notifySocket) read(ready func()) {
	b := make([]byte, 8<<10)
	for said := false; ; {
		size, err := n.conn.Read(b)
		if err != nil {
			return
		}
		if !said && slices.Contains(strings.Split(string(b[:size]), "\n"), "READY=1") {
			said = true
			ready()
		}
	}
}
