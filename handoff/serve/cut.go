package serve

import "bytes"

// cuts reports whether c is to stand between two requests soon, because it is to be held, or to move.
func (c *tracked) cuts() bool {
	m := c.t.mode()
	return m.holding() || m.departing() && c.kept != m.departure()
}

// take reads what is there into c.buf from k on; see readNow. A client that has always requests queued leaves part of one
// in the buffer of net/http whenever that reads what it can get. So a connection that is to move gets no more than belongs
// to the request that is read, and what follows stays in the kernel.
func (c *tracked) take(fd uintptr, k int) (n int, more bool, err error) {
	p := c.buf[k:]
	c.body.looked = 0
	// Into one byte, net/http reads while a request is answered. What is larger than its buffer takes only the body.
	if len(p) <= 1 || len(c.buf) > bufferSize || !c.cuts() {
		return readNow(fd, p)
	}
	if c.stand.phase == active {
		switch least := c.body.least(); {
		case least >= int64(len(p)):
			return readNow(fd, p)
		case least > 0 && c.body.kind == sized:
			return readNow(fd, p[:least])
		}
	}
	n, more, err = peekNow(fd, p)
	if !more || err != nil || n == 0 {
		return n, more, err
	}
	return readNow(fd, p[:c.ends(p[:n])])
}

// ends returns how many bytes of b, of which there is at least one, are to be delivered.
//
// Of a header: all of it, and nothing after it. If there is no body, that is the end of the request. Of a body: all of it.
//
// Where the end of a body is not known, only net/http finds it. So it gets less than the next line break and the byte
// before, which it may read in the background while it answers. Of the next request it has less than a line then, so that the
// header of that one is cut where it ends, and the connection stands between two requests after it.
func (c *tracked) ends(b []byte) int {
	if c.stand.phase != active {
		if n, ok := c.stand.headerEnd(b); ok {
			return n
		}
		return len(b)
	}
	if n, ok := c.body.end(&c.stand, b); ok {
		return n
	}
	if n := bytes.IndexByte(b, '\n'); n >= 0 {
		return max(n-1, 1)
	}
	return len(b)
}

// headerEnd returns where in b, if it follows what was delivered, the first empty line ends.
func (s *stand) headerEnd(b []byte) (n int, ok bool) {
	for {
		k := bytes.IndexByte(b[n:], '\n')
		if k < 0 {
			return 0, false
		}
		if n += k + 1; s.emptyLine(b[:n]) {
			return n, true
		}
	}
}

// emptyLine reports whether b, whose last byte is a line break, ends with an empty line, if it follows what was
// delivered.
func (s *stand) emptyLine(b []byte) bool { return s.ends(b, "\n\n") || s.ends(b, "\n\r\n") }

// ends reports whether b ends with suffix, if it follows what was delivered.
func (s *stand) ends(b []byte, suffix string) bool {
	if n := len(suffix) - len(b); n > 0 {
		return bytes.HasSuffix(s.last[:], []byte(suffix[:n])) && string(b) == suffix[n:]
	}
	return bytes.HasSuffix(b, []byte(suffix))
}
