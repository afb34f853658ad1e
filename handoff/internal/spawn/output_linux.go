package spawn

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// lastLines keeps the end of what a child prints.
type lastLines struct {
	mu sync.Mutex
	b  []byte
}

// maxLastLines is in bytes.
const maxLastLines = 4 << 10

func (o *lastLines) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	if n := len(o.b) - maxLastLines; n > 0 {
		o.b = append(o.b[:0], o.b[n:]...)
	}
	return len(p), nil
}

// String returns whole lines, except for one that alone is longer than what is kept.
func (o *lastLines) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.b
	if len(b) == maxLastLines {
		if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
			b = b[i+1:]
		}
	}
	return strings.TrimRight(string(b), "\n")
}

// ignoreErrors goes on when our own standard output is gone, for the child's sake.
type ignoreErrors struct{ w io.Writer }

func (i ignoreErrors) Write(p []byte) (int, error) {
	_, _ = i.w.Write(p)
	return len(p), nil
}
