package serve

import "bytes"

// record keeps the bytes of a header that is not complete yet, so that a connection can be held, and move, in the midst
// of it: a client that is slow to say what it wants is not to hold up the others, and not to be cut off when a drain
// ends. A header that comes in one piece is not recorded, and costs nothing.
type record struct {
	on       bool
	over     bool // buf is what net/http got last of a body, and perhaps of the next request
	leniency int  // CR or LF bytes that may be ignored before what is in buf
	buf      []byte
}

// begin is called before each Read, with the size of its slice. A record begins where the connection stands between two
// requests. A request that began in the midst of what was read with the one before cannot be recorded, but for what
// spill knows of: nobody else than net/http knows where it began.
func (r *record) begin(s *stand, size int) {
	if s.phase == active {
		return
	}
	n, ok := s.between(size)
	switch over := bufferSize - size; {
	case ok:
		r.on = true
		r.buf = append(r.buf[:0], s.ahead(n)...)
		if s.phase == idle {
			r.leniency = leniency
		}
	case r.over && s.phase == idle && s.deadlines == 2 && peekSize <= over && over <= len(r.buf):
		// It has passed what it ignores.
		r.on, r.leniency = true, 0
		r.buf = append(r.buf[:0], r.buf[len(r.buf)-over:]...)
	}
	r.over = false
}

// add is told of what is delivered while on.
func (r *record) add(s *stand, b []byte) {
	if !s.inHeader() || len(r.buf)+len(b) > maxRecord || complete(b) {
		r.end()
		return
	}
	r.buf = append(r.buf, b...)
}

// complete reports whether there is the end of a header in b.
func complete(b []byte) bool {
	const end = "\r\n\r\n"
	return bytes.HasSuffix(b, []byte(end)) || bytes.Contains(bytes.TrimLeft(b, "\r\n"), []byte(end))
}

// spill is told of what is delivered while a request is answered: of what was cut, and of each byte that net/http reads
// after it to learn whether the client is still there. As long as there is no line break in it, net/http can have taken
// nothing of the next request out of its buffer when it reads the next time: which the size of that slice then tells
// from the body.
func (r *record) spill(b []byte, cut bool) {
	switch {
	case cut:
		r.buf = append(r.buf[:0], b...)
		r.over = len(b) == 1 || bytes.IndexByte(b, '\n') < 0
	case r.over && len(b) == 1:
		r.buf = append(r.buf, b[0])
		r.over = b[0] != '\n'
	default:
		r.over = false
	}
}

// end is called at the end of the header.
func (r *record) end() {
	r.on, r.over = false, false
	if cap(r.buf) > bufferSize {
		r.buf = nil
	}
	r.buf = r.buf[:0]
}
