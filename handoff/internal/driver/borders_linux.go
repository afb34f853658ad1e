package driver

import (
	"context"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/token"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// What the actions of both sides act upon, by the methods that they need. The tests of the driver have others in their place,
// which record in which order they are called, as for held (driver.go). The link is the same in tests: Config tells of what is sent.

// ownership is the token.
type ownership interface {
	Take() (bool, error)
	Put() error
	Present() bool
	Exists() bool
	Close()
}

// manifest is what one successor was offered.
type manifest interface {
	Claimed() []bool
	Len() int
	Items() ([]wire.Item, []syscall.Conn)
	Sockets() []*sockets.Socket
	Place(*sockets.Socket) (place int, ok bool)
	Claim(claimed []bool)
	Changed() bool
	Give()
	Pause() error
	Park() error
	RetireUnclaimed(context.Context)
	CloseCopy(place int)
	RestoreBacklogs(owned bool)
	Reopen(ctx context.Context, locked func(f func(untold bool))) (again []*sockets.Socket, errs error)
}

// mortal is a process that can be ended.
type mortal interface {
	Dead() bool
	Kill() error
	Await(ctx context.Context, d time.Duration) bool
}

var (
	_ ownership = token.Token{}
	_ manifest  = (*sockets.Manifest)(nil)
	_ mortal    = (*peer.Peer)(nil)
)
