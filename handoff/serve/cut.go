package serve

import "bytes"

// cuts reports whether c is to stand between two requests soon, because it is to be held, or to move.
func (c *tracked) cuts() bool {
	m := c.t.mode()
	return m.holding() || m.departing() && c.kept != m.departure()
}

// take reads what is there into c.buf from k on; see readNow. A client that has always requests queued leaves part of one
// in the buffer of net/http whenever that reads what it can get. So a connection that is to move gets no more than cut
// says, and what follows stays in the kernel.
func (c *tracked) take(fd uintptr, k int) (n int, more bool, err error) {
	p := c.buf[k:]
	// Into one byte, net/http reads while a request is answered. What is larger than its buffer takes only the body.
	if c.cut = len(p) > 1 && len(c.buf) <= bufferSize && c.cuts(); c.cut {
		n, more, err := peekNow(fd, p)
		if !more || err != nil || n == 0 {
			return n, more, err
		}
		p = p[:c.stand.cut(p[:n])]
	}
	return readNow(fd, p)
}

// cut returns how many bytes of b, of which there is at least one, are to be delivered.
//
// Of a header: all of it, and nothing after it. If there is no body, that is the end of the request.
//
// While a body is read, only net/http knows where that ends. So it gets less than the next line break and the byte
// before, which it may read by itself while it answers: no line of the next request is complete before that has its
// turn, and then the size of the slice tells how much there is of it (see record).
func (s *stand) cut(b []byte) int {
	if s.phase == active {
		if n := bytes.IndexByte(b, '\n'); n >= 0 {
			return max(n-1, 1)
		}
		return len(b)
	}
	for n := 0; ; {
		k := bytes.IndexByte(b[n:], '\n')
		if k < 0 {
			return len(b)
		}
		if n += k + 1; s.emptyLine(b[:n]) {
			return n
		}
	}
}

// emptyLine reports whether b, whose last byte is a line break, ends with an empty line, if it follows what was
// delivered.
func (s *stand) emptyLine(b []byte) bool {
	at := func(n int) byte {
		if n <= len(b) {
			return b[len(b)-n]
		}
		return s.last[max(len(s.last)-(n-len(b)), 0)]
	}
	return at(2) == '\n' || at(2) == '\r' && at(3) == '\n'
}
