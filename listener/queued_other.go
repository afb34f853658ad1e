//go:build !linux

package listener

import (
	"errors"
	"net"
	"os"
	"time"
)

// acceptQueued cannot look first, so it waits a little.
func acceptQueued(ln netListener) (net.Conn, error) {
	c, err := acceptWithin(ln, 20*time.Millisecond)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, ErrEmpty
	}
	return c, err
}

// lacksDescriptors is asked where emptyQueue can tell more.
func lacksDescriptors(error) bool { return false }

func emptyQueue(netListener) bool { return false }
