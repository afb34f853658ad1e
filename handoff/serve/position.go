package serve

import (
	"errors"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/live"
)

// protocol is the name under which connections travel whose position is encoded as below.
const protocol = "http/1"

const (
	// leniency is how many CR or LF bytes are ignored before a request. net/http does so after a POST only, for the
	// sake of old clients (RFC 9112, section 2.2); a connection that has moved does not know any more what came before.
	leniency = 4
	// maxRecord is how much of an unfinished header is kept, so that it can travel.
	maxRecord = 16 << 10

	_ = uint(live.MaxState - maxRecord - 2) // it fits, see encode

	positionVersion = 1
	positionBegun   = 1 << 3 // above the leniency
)

// position is where a connection stands, for the server that goes on with it.
type position struct {
	begun    bool   // the deadline is that for a header, not that for idleness
	leniency int    // CR and LF bytes that may still be ignored
	ahead    []byte // of the next request, already read
}

// usual is the position of nearly all connections: idle, nothing read. It is encoded as nothing at all.
func (p position) usual() bool { return !p.begun && p.leniency == leniency && len(p.ahead) == 0 }

// encode gives: nothing; or the version, a byte with the leniency and a flag, and the bytes read ahead.
func (p position) encode() []byte {
	if p.usual() {
		return nil
	}
	flags := byte(p.leniency)
	if p.begun {
		flags |= positionBegun
	}
	return append([]byte{positionVersion, flags}, p.ahead...)
}

// decodePosition undoes encode. The result shares no memory with b.
func decodePosition(b []byte) (position, error) {
	if len(b) == 0 {
		return position{leniency: leniency}, nil
	}
	if b[0] != positionVersion {
		return position{}, fmt.Errorf("position of a connection: version %d is unknown", b[0])
	}
	if len(b) < 2 {
		return position{}, errors.New("position of a connection: cut short")
	}
	p := position{begun: b[1]&positionBegun != 0, leniency: int(b[1] &^ positionBegun)}
	if p.leniency > leniency {
		return position{}, fmt.Errorf("position of a connection: flags %#x are unknown", b[1])
	}
	most := peekSize - 1
	if p.begun {
		most = maxRecord
	}
	if len(b)-2 > most {
		return position{}, fmt.Errorf("position of a connection: %d bytes read ahead are too many", len(b)-2)
	}
	if len(b) > 2 {
		p.ahead = append(p.ahead, b[2:]...)
	}
	if p.usual() {
		return position{}, errors.New("position of a connection: says nothing")
	}
	return p, nil
}
