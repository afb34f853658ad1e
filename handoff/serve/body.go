package serve

import "bytes"

// body is what is known of the body of a request that net/http reads: how much of it is still to come. With that a
// connection that is to move is read at full speed, and yet no further than its request goes.
//
// How a body is coded, net/http itself says (see expect); where it begins, the header's end tells. A request whose header
// net/http had in its buffer together with the one before has an end that is not known here. Nothing depends on this but
// how much is read at once: where a connection stands, stand and record find out for themselves.
type body struct {
	kind   bodyKind
	tail   int    // bytes delivered behind the header that was read last; -1: not known
	left   int64  // if sized: bytes that are to come, at the least
	exact  bool   // if sized: not more than these
	chunks chunks // if tail is known, or chunked
	then   chunks // behind the next looked bytes, so that nothing is looked at twice
	looked int
}

type bodyKind uint8

const (
	unknown bodyKind = iota
	sized
	chunked
)

// header is told of each b that is delivered before the end of a header. s has not been told yet.
func (y *body) header(s *stand, b []byte) {
	y.tail = -1
	if (b[0] == 'G' || b[0] == 'H') && bytes.HasSuffix(b, []byte(headerEnd)) {
		y.tail = 0 // or there are more requests; these have a body seldom enough
		return
	}
	if s.phase == idle && s.deadlines == 1 {
		b = bytes.TrimLeft(b, "\r\n") // see leniency
	}
	n, ok := s.headerEnd(b)
	if !ok {
		return
	}
	y.tail = len(b) - n
	y.chunks = chunks{}
	y.chunks.pass(b[n:]) // in case it is
}

// active is called at the end of a header.
func (y *body) active() { y.kind, y.looked = unknown, 0 }

// idle is called at the end of a response. If no header is read from now on, the next one was in net/http's buffer.
func (y *body) idle() { y.kind, y.tail = unknown, -1 }

// expect says how long the body is: -1 is chunked.
func (y *body) expect(length int64) {
	switch {
	case length < 0:
		y.kind = chunked
		switch y.tail {
		case 0:
			y.chunks = chunks{}
		case -1:
			y.chunks = chunks{at: chunkLost}
		}
	case y.tail >= 0:
		y.kind, y.left, y.exact = sized, max(length-int64(y.tail), 0), true
	default:
		y.kind, y.left, y.exact = sized, max(length-bufferSize, 0), false
	}
}

// deliver is told of each b that is delivered from then on.
func (y *body) deliver(b []byte) {
	switch y.kind {
	case sized:
		y.left = max(y.left-int64(len(b)), 0)
	case chunked:
		if y.looked == len(b) {
			y.chunks = y.then
		} else {
			y.chunks.pass(b)
		}
		y.looked = 0
	}
}

// least returns how many bytes of the body are to come at the least, without a look at them.
func (y *body) least() int64 {
	switch y.kind {
	case sized:
		return y.left
	case chunked:
		return y.chunks.least()
	}
	return 0
}

// end returns how many bytes of b, which are to come, belong to the body; false if that cannot be told.
func (y *body) end(s *stand, b []byte) (n int, ok bool) {
	if y.kind != chunked {
		return 0, false
	}
	if y.then = y.chunks; y.then.at != chunkLost {
		n = y.then.pass(b)
		y.looked = n
		return n, n > 0
	}
	// A chunked body ends with an empty line, and net/http wants that to be one of CR LF.
	for {
		k := bytes.IndexByte(b[n:], '\n')
		if k < 0 {
			return len(b), true
		}
		if n += k + 1; s.ends(b[:n], headerEnd) {
			return n, true
		}
	}
}

// chunks follows a body in the chunked coding (RFC 9112, section 7.1). It is no judge of what is wrong: net/http reads no
// further then. The zero value is at the beginning.
type chunks struct {
	at   chunkPlace
	size int64 // in a size: what has been read of it; in data: what is left, with the line break behind it
}

type chunkPlace uint8

const (
	chunkStart   chunkPlace = iota // of a size
	chunkSize                      // in it
	chunkRest                      // of that line
	chunkData                      // and the line break behind it
	trailerStart                   // of a line of the trailer, or the empty one
	trailerLine                    // in it
	trailerEnd                     // behind the CR of the empty line
	chunksOver
	chunkLost // it is not known where
)

// chunkLeast is the shortest end: "0", a line break, and an empty line.
const chunkLeast = int64(len("0\r\n\r\n"))

// least returns how many bytes are to come at the least.
func (c *chunks) least() int64 {
	switch c.at {
	case chunkData:
		return c.size + chunkLeast
	case chunkStart:
		return chunkLeast
	case chunksOver, chunkLost:
		return 0
	}
	return 1
}

// pass goes on by b, and returns how much of it belongs to the body.
func (c *chunks) pass(b []byte) int {
	for i := 0; i < len(b); {
		switch c.at {
		case chunksOver, chunkLost:
			return i
		case chunkData:
			n := min(c.size, int64(len(b)-i))
			i += int(n)
			if c.size -= n; c.size == 0 {
				c.at = chunkStart
			}
			continue
		case chunkRest, trailerLine: // long lines are rare
			if b[i] == '\n' {
				c.line()
			}
		case chunkStart, chunkSize:
			c.digit(b[i])
		case trailerStart, trailerEnd:
			switch {
			case b[i] == '\n':
				c.at = chunksOver
			case b[i] == '\r' && c.at == trailerStart:
				c.at = trailerEnd
			default:
				c.at = trailerLine
			}
		}
		i++
	}
	return len(b)
}

// digit takes a byte of a size.
func (c *chunks) digit(b byte) {
	d := int64(-1)
	switch {
	case '0' <= b && b <= '9':
		d = int64(b - '0')
	case 'a' <= b && b <= 'f':
		d = int64(b-'a') + 10
	case 'A' <= b && b <= 'F':
		d = int64(b-'A') + 10
	}
	const most = 1<<58 - 1 // with a digit more it fits
	switch {
	case d >= 0 && c.at == chunkStart:
		c.at, c.size = chunkSize, d
	case d >= 0 && c.size <= most:
		c.size = c.size<<4 | d
	case d >= 0 || c.at == chunkStart:
		c.at = chunkLost
	case b == '\n':
		c.line()
	default:
		c.at = chunkRest
	}
}

// line ends a line that is not empty.
func (c *chunks) line() {
	switch {
	case c.at == trailerLine || c.size == 0:
		c.at = trailerStart
	default:
		c.at = chunkData
		c.size += int64(len("\r\n"))
	}
}
