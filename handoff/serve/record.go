package serve

import "bytes"

// headerEnd is how clients end a header. What ends otherwise is not recorded.
const headerEnd = "\r\n\r\n"

// record keeps the bytes of a header that is not complete yet, so that a connection can be held, and move, in the midst
// of it: a client that is slow to say what it wants is not to hold up the others, and not to be cut off when a drain
// ends. A header that comes in one piece is not recorded, and costs nothing.
type record struct {
	on       bool
	ahead    bool // buf is the beginning of a request behind others, which net/http has got already and answers first
	leniency int  // CR or LF bytes that may be ignored before what is in buf
	buf      []byte
}

// begin is called before each Read, with the size of its slice. A record begins where the connection stands between two
// requests. A request that began in the midst of what was read with the one before is recorded only if addPipelined knows where:
// otherwise nobody but net/http does.
func (r *record) begin(s *stand, size int) {
	if s.phase == active {
		return
	}
	n, ok := s.between(size)
	switch {
	case ok:
		r.on = true
		r.buf = append(r.buf[:0], s.ahead(n)...)
		if s.phase == idle {
			r.leniency = leniency
		}
	case r.ahead && s.phase == idle && s.deadlines == 2 && bufferSize-size == len(r.buf)-1-bytes.LastIndexByte(r.buf, '\n'):
		r.on, r.leniency = true, 0 // net/http has taken whole lines
	}
	r.ahead = false
}

// add is told of what is delivered while on.
func (r *record) add(s *stand, b []byte) {
	switch {
	case !s.inHeader() || len(r.buf)+len(b) > maxRecord || bytes.HasSuffix(b, []byte(headerEnd)):
		r.end()
	case bytes.Contains(bytes.TrimLeft(b, "\r\n"), []byte(headerEnd)):
		r.addPipelined(b)
	default:
		r.buf = append(r.buf, b...)
	}
}

// addPipelined is told of the last piece of a header, if there is more behind it: a body, or pipelined requests, the last of which
// is not complete. If none of them has a body, it is known where that one begins.
func (r *record) addPipelined(b []byte) {
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
	r.on, r.ahead = false, true
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

// addBackground is told of what is delivered into a slice of this size while a request is answered that addPipelined was told of.
// Into one byte net/http reads in the background, to learn whether the client is still there: that byte belongs to the next request.
func (r *record) addBackground(b []byte, size int) {
	if !r.ahead || size != 1 {
		r.ahead = false
		return
	}
	r.buf = append(r.buf, b[0])
	r.ahead = b[0] != '\n' // it may be the end of the header
}

// active is called at the end of the header.
func (r *record) active() {
	if !r.ahead {
		r.end()
	}
}

// end forgets what was recorded.
func (r *record) end() {
	r.on, r.ahead = false, false
	if cap(r.buf) > bufferSize {
		r.buf = nil
	}
	r.buf = r.buf[:0]
}
