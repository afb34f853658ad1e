package wire

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Record says where one connection of a CONNS stands.
type Record struct {
	// Expires is in how long the connection is to be closed if nothing arrives on it. Negative: never. It travels in
	// microseconds, rounded up.
	Expires time.Duration
	// State is for the server or the program that goes on with the connection, at most MaxState bytes.
	State []byte
}

// AppendRecord adds r to the records of a CONNS. One record is two numbers and the state:
//
//	expires  microseconds + 1, or 0 for never; unsigned LEB128, as encoding/binary writes it
//	length   of state in bytes; likewise
//	state
func AppendRecord(b []byte, r Record) []byte {
	expires := uint64(0)
	if r.Expires >= 0 {
		expires = uint64((min(r.Expires, maxExpires)+time.Microsecond-1)/time.Microsecond) + 1
	}
	b = binary.AppendUvarint(b, expires)
	b = binary.AppendUvarint(b, uint64(len(r.State)))
	return append(b, r.State...)
}

// RecordLen is the most bytes that AppendRecord adds for a state of n bytes.
func RecordLen(n int) int { return 2*binary.MaxVarintLen64 + n }

// maxExpires is the longest time that a record says: what is longer is cut to that.
const maxExpires = 100 * 365 * 24 * time.Hour

// ParseRecords takes the records of a CONNS apart; there must be n of them. The states are parts of b.
//
// The error is [ErrMalformed].
func ParseRecords(b []byte, n int) ([]Record, error) {
	if n > MaxConns {
		return nil, fmt.Errorf("wire: records: %w", outOfBounds("%d connections are more than %d", n, MaxConns))
	}
	records := make([]Record, n)
	for i := range records {
		r := &records[i]
		expires, used := binary.Uvarint(b)
		if used <= 0 || expires > uint64(maxExpires/time.Microsecond)+1 {
			return nil, fmt.Errorf("wire: record %d: %w", i, outOfBounds("no time of expiry"))
		}
		b = b[used:]
		length, used := binary.Uvarint(b)
		if used <= 0 || length > MaxState || length > uint64(len(b)-used) {
			return nil, fmt.Errorf("wire: record %d: %w", i, outOfBounds("state of %d bytes", length))
		}
		b = b[used:]
		r.Expires = -1
		if expires > 0 {
			r.Expires = time.Duration(expires-1) * time.Microsecond
		}
		if length > 0 {
			r.State, b = b[:length:length], b[length:]
		}
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("wire: records: %w", outOfBounds("%d bytes after the last of %d", len(b), n))
	}
	return records, nil
}
