package transport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/token"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Receiver is the successor's side.
type Receiver struct {
	Link *link.Link
	Pull bool // this side is to take the descriptors itself, as [Agreed]
	Only bool // there is no other way
}

// Agreed reports whether both sides want the successor to take its descriptors itself, as features say, on which they have agreed.
// It fails if this side wants nothing else. other is at the other end.
func Agreed(features []string, only bool, other *link.Link) (bool, error) {
	pull := slices.Contains(features, FeaturePull)
	if only && !pull {
		return false, fmt.Errorf("%w: %s does not take part in pidfd; set its Config.Transport to automatic, "+
			"or that of process %d, which insists on it", link.ErrTransport, other.Who(), os.Getpid())
	}
	return pull, nil
}

// Token takes the token out of f, or out of the incumbent, which then waits for the answer.
func (r *Receiver) Token(f link.Frame, m *wire.Welcome) (token.Token, error) {
	if n := len(f.Raw.FDs); n == 1 {
		fd := f.Raw.FDs[0]
		f.Raw.FDs[0] = nil
		return token.Adopt(fd)
	} else if n != 0 || m.Descriptor == 0 || !slices.Contains(m.Features, FeatureToken) {
		return token.Token{}, fmt.Errorf("%w: WELCOME with %d descriptors", wire.ErrProtocol, n)
	}
	process, err := r.incumbent()
	if err != nil {
		return token.Token{}, err
	}
	defer func() { _ = process.Close() }()
	fd, err := process.Get(m.Descriptor)
	if err != nil {
		return token.Token{}, fmt.Errorf("the token can neither be sent, since this user has too many descriptors in flight, nor be taken: %w", err)
	}
	t, err := token.Adopt(fd)
	if err != nil {
		return token.Token{}, err
	}
	if err := r.Link.Send(&wire.Taken{}); err != nil {
		t.Close()
		return token.Token{}, err
	}
	return t, nil
}

// Fill puts the descriptors of m, number batch, into f, if this side is to take them. If it must not, and they can be sent, it says
// so to the incumbent: again means that m comes again, with them.
func (r *Receiver) Fill(f *link.Frame, m *wire.Offer, batch int) (again bool, err error) {
	if len(f.Raw.FDs) > 0 {
		if r.Only {
			return false, fmt.Errorf("%w: %s sends its descriptors; its log says why", link.ErrTransport, r.Link.Who())
		}
		return false, nil
	}
	if !r.Pull {
		return false, nil
	}
	f.Raw.FDs, err = r.take(m.Items)
	switch {
	case err == nil || !refusable(err):
		return false, err
	case r.Only:
		return false, fmt.Errorf("%w: %w; or set Config.Transport to automatic", link.ErrTransport, err)
	}
	r.Pull = false
	return true, r.Link.Send(&wire.Taken{Batch: batch, Refused: err.Error()})
}

// incumbent lets descriptors be taken from the incumbent, which must be known for that.
func (r *Receiver) incumbent() (*fdpass.Process, error) {
	if r.Link.Peer.Doubtful() {
		return nil, fmt.Errorf("process %d: %w", r.Link.Peer.PID, peer.ErrUnproven)
	}
	return r.Link.Peer.Process()
}

// take takes what items name out of the incumbent, and makes sure that it is that.
func (r *Receiver) take(items []wire.Item) ([]*listener.FD, error) {
	if len(items) == 0 {
		return nil, nil
	}
	process, err := r.incumbent()
	if err != nil {
		return nil, err
	}
	defer func() { _ = process.Close() }()
	numbers := make([]int, len(items))
	for i, item := range items {
		numbers[i] = item.Descriptor
	}
	fds, err := process.GetAll(numbers)
	if err != nil {
		return nil, err
	}
	for i, fd := range fds {
		info, err := listener.Describe(fd)
		if err == nil && (info.Cookie != items[i].Cookie || info.Dev != items[i].Dev || info.Ino != items[i].Ino) {
			err = fmt.Errorf("%w: descriptor %d of the incumbent is not %s", wire.ErrProtocol, items[i].Descriptor, items[i].Name)
		}
		if err != nil {
			(&fdpass.Message{FDs: fds}).Close()
			return nil, err
		}
	}
	return fds, nil
}

// refusable reports whether err, of take, leaves the other transport to try.
func refusable(err error) bool {
	return !errors.Is(err, wire.ErrProtocol) && !errors.Is(err, fdpass.ErrGone) && !errors.Is(err, net.ErrClosed) &&
		!spares.OutOfDescriptors(err)
}
