package systemd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
)

const (
	// sendTimeout bounds what the messages of one event take together: systemd reads slowly while it reloads its units, and a phase
	// must not wait for that.
	sendTimeout = time.Second
	// barrierTimeout bounds how long a process that ends waits until systemd has read what it said last.
	barrierTimeout = 5 * time.Second
)

// notifier sends to NOTIFY_SOCKET, sd_notify(3). A nil one sends nothing.
type notifier struct {
	addr *net.UnixAddr
	log  *slog.Logger

	mu     sync.Mutex
	conn   *net.UnixConn
	failed bool          // and that was logged
	left   time.Duration // of sendTimeout
}

// errNotifySocket is for what is neither a path nor an abstract name, such as vsock:2:1234.
var errNotifySocket = errors.New("must be an absolute path, or @ and an abstract name")

func newNotifier(socket string, log *slog.Logger) (*notifier, error) {
	if socket == "" {
		return nil, nil
	}
	if socket[0] != '/' && socket[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET=%q: %w", socket, errNotifySocket)
	}
	return &notifier{addr: &net.UnixAddr{Net: "unixgram", Name: socket}, log: log, left: sendTimeout}, nil
}

// begin is called when something happens that systemd is told of. What is said of it may take sendTimeout, all together.
func (n *notifier) begin() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.left = sendTimeout
}

// send sends one message, and keeps the connection for the next. A service works without: an error is logged, once until a message
// gets through.
func (n *notifier) send(text string, fds ...syscall.Conn) bool {
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	again := n.conn != nil // the socket may be another one by now
	err := n.trySend(text, fds)
	if err != nil && again && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = n.trySend(text, fds)
	}
	if err != nil && !n.failed {
		n.log.Error("systemd is not told what this service does", "message", text, "error", err)
	}
	n.failed = err != nil
	return err == nil
}

func (n *notifier) trySend(text string, fds []syscall.Conn) (err error) {
	if n.conn == nil {
		if n.conn, err = net.DialUnix(n.addr.Net, nil, n.addr); err != nil {
			n.conn = nil
			return err
		}
	}
	begun := time.Now()
	err = n.conn.SetWriteDeadline(begun.Add(max(n.left, time.Millisecond))) // one try in any case
	if err == nil {
		err = fdpass.Send(n.conn, []byte(text), fds...)
	}
	n.left -= time.Since(begun)
	if err != nil {
		_ = n.conn.Close()
		n.conn = nil
	}
	return err
}

func (n *notifier) close() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn != nil {
		_ = n.conn.Close()
		n.conn = nil
	}
}

// barrier sends BARRIER=1 with a descriptor. systemd closes that descriptor when it has read all earlier messages
// (sd_notify_barrier(3)). The caller must call wait, which returns then, or after barrierTimeout.
func (n *notifier) barrier() (wait func()) {
	if n == nil {
		return func() {}
	}
	r, w, err := os.Pipe()
	if err != nil {
		n.log.Warn("no barrier to systemd", "error", err)
		return func() {}
	}
	sent := n.send("BARRIER=1", w)
	_ = w.Close()
	deadline := time.Now().Add(barrierTimeout)
	return func() {
		defer r.Close()
		if !sent {
			return
		}
		_ = r.SetReadDeadline(deadline)
		if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			n.log.Warn("systemd has not read what this process said last; it may take the service for ended", "after", barrierTimeout)
		}
	}
}
