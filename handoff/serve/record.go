package serve

// record keeps the bytes of a header that is not complete yet, so that a connection can be held, and move, in the midst
// of it. It is needed where there is state to be moved: then a client that is slow to say what it wants must not hold up
// the others.
type record struct {
	on       bool
	leniency int // CR and LF bytes that may be ignored before what is in buf
	buf      []byte
}

// begin is called before each Read, with the size of its slice. A record begins where the connection stands between two
// requests. A request that began in the midst of what was read with the one before cannot be recorded: nobody but
// net/http knows where it began.
func (r *record) begin(s *stand, size int) {
	n, ok := s.between(size)
	if !ok {
		return
	}
	if s.phase == idle {
		r.leniency = leniency
	}
	r.on = true
	r.buf = append(r.buf[:0], s.ahead(n)...)
}

// add is told of what is delivered.
func (r *record) add(s *stand, b []byte) {
	if !s.inHeader() || len(r.buf)+len(b) > maxRecord {
		r.end()
		return
	}
	r.buf = append(r.buf, b...)
}

// end is called at the end of the header.
func (r *record) end() {
	r.on = false
	if cap(r.buf) > bufferSize {
		r.buf = nil
	}
	r.buf = r.buf[:0]
}
