package serve

import "bytes"

// headerEnd is how clients end a header. What ends otherwise is not recorded.
const headerEnd = "\r\n\r\n"

// record keeps the bytes of a header that is not complete yet, so that a connection can be held, and move, in the midst
// of it: a client that is slow to say what it wants is not to hold up the others, and not to be cut off when a drain
// ends. A header that comes in one piece is not recorded, and costs nothing.
type record struct {
	on       bool
	next     bool // buf is the beginning of a request, behind others that net/http has got
	over     bool // buf is what net/http got last of a body, and perhaps of the next request
	leniency int  // CR or LF bytes that may be ignored before what is in buf
	buf      []byte
}

// begin is called before each Read, with the size of its slice. A record begins where the connection stands between two
// requests. A request that began in the midst of what was read with the one before can be recorded only if follow or
// spill knows of it: otherwise nobody but net/http knows where it began.
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
	case r.next && s.phase == idle && s.deadlines == 2 && over == len(r.buf)-1-bytes.LastIndexByte(r.buf, '\n'):
		r.on, r.leniency = true, 0 // net/http has taken whole lines
	case r.over && s.phase == idle && s.deadlines == 2 && peekSize <= over && over <= len(r.buf):
		// It has passed what it ignores.
		r.on, r.leniency = true, 0
		r.buf = append(r.buf[:0], r.buf[len(r.buf)-over:]...)
	}
	r.next, r.over = false, false
}

// add is told of what is delivered while on.
func (r *record) add(s *stand, b []byte) {
	switch {
	case !s.inHeader() || len(r.buf)+len(b) > maxRecord || bytes.HasSuffix(b, []byte(headerEnd)):
		r.end()
	case bytes.Contains(bytes.TrimLeft(b, "\r\n"), []byte(headerEnd)):
		r.follow(b)
	default:
		r.buf = append(r.buf, b...)
	}
}

// follow is told of the last piece of a header, if there is more behind it: a body, or other requests, the last of which
// is not complete. If none of them has a body, it is known where that one begins.
func (r *record) follow(b []byte) {
	first := b
	if len(r.buf) > 0 {
		first = r.buf
	}
	if !bytes.HasPrefix(first, []byte("GET ")) && !bytes.HasPrefix(first, []byte("HEAD ")) {
		r.end()
		return
	}
	r.buf = append(r.buf, b...)
	n := bytes.LastIndex(r.buf, []byte(headerEnd)) + len(headerEnd)
	next := r.buf[n:]
	// What ends with bare line breaks is a request for net/http too.
	if bodied(r.buf[:n]) || bytes.Contains(next, []byte("\n\n")) || bytes.Contains(next, []byte("\n\r\n")) {
		r.end()
		return
	}
	r.on, r.next = false, true
	r.buf = append(r.buf[:0], next...)
}

// bodied reports whether one of these headers may be that of a request with a body.
func bodied(headers []byte) bool {
	for line := range bytes.Lines(headers) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		if name = bytes.TrimSpace(name); bytes.EqualFold(name, []byte("Content-Length")) ||
			bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			return true
		}
	}
	return false
}

// spill is told of what is delivered while a request is answered: of what was cut, and of each byte that net/http reads
// after it, or after what follow was told of, to learn whether the client is still there. As long as there is no line
// break in what was cut, net/http can have taken nothing of the next request out of its buffer when it reads the next
// time: the size of that slice then tells the request from the body.
func (r *record) spill(b []byte, cut bool) {
	switch {
	case cut:
		r.buf = append(r.buf[:0], b...)
		r.next = false
		r.over = len(b) == 1 || bytes.IndexByte(b, '\n') < 0
	case r.next && len(b) == 1:
		r.buf = append(r.buf, b[0])
		r.next = b[0] != '\n' // it may be the end of the header
	case r.over && len(b) == 1:
		r.buf = append(r.buf, b[0])
		r.over = b[0] != '\n'
	default:
		r.next, r.over = false, false
	}
}

// active is called at the end of the header.
func (r *record) active() {
	if !r.next {
		r.end()
	}
}

// end forgets what was recorded.
func (r *record) end() {
	r.on, r.next, r.over = false, false, false
	if cap(r.buf) > bufferSize {
		r.buf = nil
	}
	r.buf = r.buf[:0]
}
