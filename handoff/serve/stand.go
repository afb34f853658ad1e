package serve

import "net/http"

// What net/http does on a connection is documented nowhere; that it is so, selfTest finds out. After a request it runs:
// the hook with StateIdle; SetReadDeadline with the idle timeout; Peek(4) on its buffer; SetReadDeadline with the
// header timeout; it reads and parses the header; SetReadDeadline with the request timeout; the hook with StateActive.
const (
	// bufferSize is that of the buffer from which net/http reads. A Read gets the part of it that is free, so the
	// length of its slice tells how much is in the buffer.
	bufferSize = 4096
	// peekSize is how many bytes of the next request net/http waits for before it looks at any.
	peekSize = 4
)

type phase uint8

const (
	fresh  phase = iota // before the first request
	active              // from the end of a request's header on
	idle                // from the end of its response on
)

// stand is where net/http stands on one connection, as its calls tell.
type stand struct {
	phase     phase
	pinned    bool               // hijacked, closed, or HTTP/2: it will never stand between two requests
	deadlines uint8              // calls of SetReadDeadline since the last StateIdle; does not count beyond 2
	seen      uint8              // bytes delivered; does not count beyond what last holds
	preface   uint8              // how many of the first bytes are those of HTTP/2's preface
	last      [peekSize - 1]byte // the last bytes delivered, in order, the latest at the end
}

// state is told what net/http says to its ConnState hook.
func (s *stand) state(st http.ConnState) {
	switch st {
	case http.StateActive:
		s.phase = active
	case http.StateIdle:
		s.phase, s.deadlines = idle, 0
	case http.StateHijacked, http.StateClosed:
		s.pinned = true
	}
}

// deadline is told of each SetReadDeadline.
func (s *stand) deadline() { s.deadlines = min(s.deadlines+1, 2) }

// deliver is told of each b that a Read gives to net/http.
func (s *stand) deliver(b []byte) {
	if len(b) == 0 {
		return
	}
	if s.preface == s.seen && int(s.seen) < len(s.last) {
		s.match(b)
	}
	if n := len(s.last); len(b) >= n {
		copy(s.last[:], b[len(b)-n:])
	} else {
		copy(s.last[:], s.last[len(b):])
		copy(s.last[n-len(b):], b)
	}
	s.seen = uint8(min(int(s.seen)+len(b), len(s.last)))
}

// match compares the first bytes of a connection with those of HTTP/2, whose server uses the connection in its own
// way. No method of HTTP/1.1 begins with them.
func (s *stand) match(b []byte) {
	const preface = "PRI"
	for _, c := range b {
		if c != preface[s.preface] {
			return
		}
		if s.preface++; int(s.preface) == len(preface) {
			s.pinned = true
			return
		}
	}
}

// between reports whether a Read into a slice of this size finds net/http between two requests, or before the first,
// and how many of the bytes last delivered belong to the next one.
func (s *stand) between(size int) (ahead int, ok bool) {
	switch {
	case s.pinned:
		return 0, false
	case s.phase == fresh:
		return 0, s.seen == 0
	case s.phase != idle || s.deadlines != 1:
		return 0, false
	}
	ahead = bufferSize - size
	return ahead, 0 <= ahead && ahead < peekSize && ahead <= int(s.seen)
}

// ahead returns the n bytes last delivered.
func (s *stand) ahead(n int) []byte { return s.last[len(s.last)-n:] }

// inHeader reports whether what is delivered now belongs to the header of a request.
func (s *stand) inHeader() bool { return !s.pinned && s.phase != active }
