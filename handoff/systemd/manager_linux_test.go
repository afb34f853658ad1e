package systemd

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

const patience = 10 * time.Second

// manager is a NOTIFY_SOCKET that remembers what it was told.
type manager struct {
	t    *testing.T
	conn *net.UnixConn

	mu   sync.Mutex
	told []string
	deaf bool // it keeps the descriptors of barriers
	held []*listener.FD
	// store is as that of systemd: it recognizes a socket that it has, and removes all of a name at once.
	store map[string][]*listener.FD
	room  int // how many fit into it; 0: any number
	done  chan struct{}

	marks chan struct{} // for each mark that has come
}

func newManager(t *testing.T, socket string) *manager {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{t: t, conn: c, done: make(chan struct{}), store: map[string][]*listener.FD{}, marks: make(chan struct{}, 1)}
	go m.read()
	t.Cleanup(func() {
		_ = c.Close()
		<-m.done
		for _, fd := range m.held {
			_ = fd.Close()
		}
		for name := range m.store {
			m.unstore(name)
		}
	})
	t.Setenv("NOTIFY_SOCKET", socket)
	return m
}

func (m *manager) read() {
	defer close(m.done)
	buf := make([]byte, 4096)
	for {
		msg, err := fdpass.Recv(m.conn, buf)
		if err != nil {
			return
		}
		m.mu.Lock()
		text := string(msg.Payload)
		if text == "MARK" {
			m.mu.Unlock()
			m.marks <- struct{}{}
			continue
		}
		if len(msg.FDs) > 0 {
			text += fmt.Sprintf("\n+%d", len(msg.FDs))
		}
		m.told = append(m.told, text)
		_, rest, _ := strings.Cut(text, "FDNAME=")
		name, _, _ := strings.Cut(rest, "\n")
		switch {
		case strings.HasPrefix(text, "FDSTOREREMOVE=1"):
			m.unstore(name)
		case strings.HasPrefix(text, "FDSTORE=1"):
			msg.FDs = m.keep(name, msg.FDs)
		case m.deaf:
			m.held, msg.FDs = append(m.held, msg.FDs...), nil
		}
		m.mu.Unlock()
		msg.Close()
	}
}

// mark waits until all has arrived that was sent before, since a socket keeps the order.
func (m *manager) mark() {
	m.t.Helper()
	c, err := net.DialUnix("unixgram", nil, m.conn.LocalAddr().(*net.UnixAddr))
	if err == nil {
		defer c.Close()
		_, err = c.Write([]byte("MARK"))
	}
	if err != nil {
		m.t.Fatal(err)
	}
	select {
	case <-m.marks:
	case <-time.After(patience):
		m.t.Fatal("what was sent does not arrive")
	}
}

// forget forgets what was sent before.
func (m *manager) forget() {
	m.t.Helper()
	m.mark()
	m.mu.Lock()
	m.told = nil
	m.mu.Unlock()
}

// heard is what was sent up to now.
func (m *manager) heard() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

// fed waits until the watchdog has been fed n times more.
func (m *manager) fed(n int) {
	m.t.Helper()
	m.forget()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		m.mu.Lock()
		got := 0
		for _, text := range m.told {
			if text == "WATCHDOG=1" {
				got++
			}
		}
		m.mu.Unlock()
		if got >= n {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("fed %d times, want %d", got, n)
		}
	}
}

// keep stores fds, and returns those for which there is no room.
func (m *manager) keep(name string, fds []*listener.FD) (over []*listener.FD) {
	n := 0
	for _, stored := range m.store {
		n += len(stored)
	}
	for _, fd := range fds {
		known := false // under whichever name
		for _, stored := range m.store {
			known = known || slices.ContainsFunc(stored, func(s *listener.FD) bool { return cookieOf(m.t, s) == cookieOf(m.t, fd) })
		}
		if known || m.room > 0 && n >= m.room {
			over = append(over, fd)
			continue
		}
		m.store[name] = append(m.store[name], fd)
		n++
	}
	return over
}

func (m *manager) unstore(name string) {
	for _, fd := range m.store[name] {
		_ = fd.Close()
	}
	delete(m.store, name)
}

// logged is a log that several goroutines write.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// hears waits until it was told what the patterns say, in turn and nothing else, and forgets it. What was sent before has
// arrived by then: it sends a mark of its own after it.
func (m *manager) hears(patterns ...string) {
	m.t.Helper()
	m.mark()
	deadline := time.Now().Add(patience)
	for {
		m.mu.Lock()
		told := m.told
		if len(told) >= len(patterns) || time.Now().After(deadline) {
			m.told = nil
			m.mu.Unlock()
			for i, p := range patterns {
				if i >= len(told) || !regexp.MustCompile("(?s)^(?:"+p+")$").MatchString(told[i]) {
					m.t.Errorf("told %q, want %q", told, patterns)
					return
				}
			}
			if len(told) > len(patterns) {
				m.t.Errorf("told %q, want %q only", told, patterns)
			}
			return
		}
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}
