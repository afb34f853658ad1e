package serve

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// settings are servers with settings that make a difference to the calls of net/http.
func settings() map[string]*http.Server {
	h2c := new(http.Protocols)
	h2c.SetHTTP1(true)
	h2c.SetUnencryptedHTTP2(true)
	one := new(http.Protocols)
	one.SetHTTP1(true)
	return map[string]*http.Server{
		"plain":          {},
		"all timeouts":   {ReadTimeout: time.Minute, ReadHeaderTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: time.Minute},
		"read timeout":   {ReadTimeout: time.Minute},
		"header timeout": {ReadHeaderTimeout: time.Minute},
		"idle timeout":   {IdleTimeout: time.Minute},
		"no timeout":     {ReadHeaderTimeout: -1, IdleTimeout: -1},
		"small headers":  {MaxHeaderBytes: 1},
		"HTTP/2 too":     {Protocols: h2c},
		"HTTP/1 only":    {Protocols: one},
	}
}

func TestSelfTest(t *testing.T) {
	for name, s := range settings() {
		t.Run(name, func(t *testing.T) {
			if err := selfTest(s, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a future net/http might do otherwise.
func TestSelfTestCatches(t *testing.T) {
	for name, twist := range map[string]func(net.Conn) net.Conn{
		"one deadline more": func(c net.Conn) net.Conn { return &twisted{Conn: c, deadlines: 2} },
		"no deadlines":      func(c net.Conn) net.Conn { return &twisted{Conn: c} },
		"a smaller buffer":  func(c net.Conn) net.Conn { return &twisted{Conn: c, deadlines: 1, size: 2048} },
		"a larger buffer":   func(c net.Conn) net.Conn { return &twisted{Conn: c, deadlines: 1, larger: 4096} },
	} {
		t.Run(name, func(t *testing.T) {
			err := selfTest(&http.Server{}, twist)
			if err == nil {
				t.Fatal("not noticed")
			}
			if !strings.Contains(err.Error(), "net/http") {
				t.Errorf("%v", err)
			}
		})
	}
}

// twisted makes calls look as if net/http had made others.
type twisted struct {
	net.Conn
	deadlines    int // for each that is set
	size, larger int
}

func (c *twisted) SetReadDeadline(t time.Time) error {
	for range c.deadlines {
		_ = c.Conn.SetReadDeadline(t)
	}
	if c.deadlines == 0 && !t.IsZero() && t.Before(time.Now()) {
		return c.Conn.SetReadDeadline(t) // so that the background read ends
	}
	return nil
}

func (c *twisted) Read(p []byte) (int, error) {
	if c.size > 0 && len(p) > c.size {
		p = p[:c.size]
	}
	if c.larger > 0 && len(p) > 1 {
		q := make([]byte, len(p)+c.larger)
		n, err := c.Conn.Read(q)
		return copy(p, q[:n]), err
	}
	return c.Conn.Read(p)
}

func BenchmarkSelfTest(b *testing.B) {
	for range b.N {
		if err := selfTest(&http.Server{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
