package fdpass

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// A series is what [SendAll] makes of descriptors or bytes that do not fit one message. It begins with a message that has
// nothing but a header, of 20 bytes:
//
//	 0  8  magic
//	 8  4  number of descriptors, big-endian like all
//	12  4  length of the payload in bytes
//	16  4  length of the padding in bytes
//
// Payload and padding follow, cut into messages as the sender likes; none has bytes of both. Descriptors come in their
// order, with any of the messages, at most MaxFDs with each; padding is there for those that no payload is left for, a
// byte for each message. The series ends with its last byte.
//
// The header's message always has a descriptor, because that ends a read on a stream, which could otherwise run into what
// is sent next. If there are no descriptors to send, it is any one, which the receiver closes.
//
// A message that does not begin with the magic is whole by itself.

const (
	magic     = "\xf0segue\x0d\x0a" // no text, and not what a text conversion leaves alone
	headerLen = len(magic) + 3*4
)

type header struct {
	fds, payload, padding int
}

func (h header) append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.fds))
	b = binary.BigEndian.AppendUint32(b, uint32(h.payload))
	return binary.BigEndian.AppendUint32(b, uint32(h.padding))
}

func isSeries(b []byte) bool { return bytes.HasPrefix(b, []byte(magic)) }

// parseHeader reads a header, and compares it with what the receiver allows. Nothing may be allocated or awaited for a
// header that it refuses.
func parseHeader(b []byte, maxFDs, maxPayload int) (header, error) {
	if !isSeries(b) || len(b) != headerLen {
		return header{}, fmt.Errorf("%w: the header of a series has %d bytes, not %d", ErrTruncated, headerLen, len(b))
	}
	b = b[len(magic):]
	fds, payload, padding := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	switch {
	case uint64(fds) > uint64(max(maxFDs, 0)):
		return header{}, fmt.Errorf("%w: %d are announced, at most %d expected", ErrTooMany, fds, max(maxFDs, 0))
	case uint64(payload) > uint64(maxPayload):
		return header{}, fmt.Errorf("%w: a payload of %d bytes is announced, at most %d expected", ErrTruncated, payload, maxPayload)
	case padding > fds:
		return header{}, fmt.Errorf("%w: %d bytes of padding for %d descriptors", ErrTruncated, padding, fds)
	case uint64(padding)+uint64(payload) > math.MaxInt32:
		return header{}, fmt.Errorf("%w: %d bytes", ErrTruncated, uint64(padding)+uint64(payload))
	}
	return header{fds: int(fds), payload: int(payload), padding: int(padding)}, nil
}
