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

// tellReady tells who wants to know that COMMAND serves for the first time: by the file, and the supervisor of this process.
func (r *runner) tellReady() {
	if r.told {
		return
	}
	r.told = true
	if r.o.ReadyFile != "" {
		if err := os.WriteFile(r.o.ReadyFile, nil, 0o644); err != nil {
			r.o.Log.Error("the ready file was not made", "error", err)
		}
	}
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path) // package net knows the abstract ones, which begin with @
	if err == nil {
		_, err = conn.Write([]byte("READY=1"))
		_ = conn.Close()
	}
	if err != nil {
		r.o.Log.Warn("the supervisor of this process was not told that COMMAND serves", "NOTIFY_SOCKET", path, "error", err)
	}
}
