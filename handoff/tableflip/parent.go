package tableflip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/listener"
)

// Parent is what the tableflip process that started this one hands over. It is made by [Inherit], and its [Parent.Source] goes into
// the Config of the generation. One without such a process has nothing and does nothing. Its methods may be called concurrently.
//
// A socket is found by the network and the address, a file by the name, with which the old program asked tableflip for it. When the
// generation owns its sockets, what nobody has asked for is closed, and the path of a Unix socket among that removed, as tableflip's
// Ready does.
type Parent struct {
	log     *slog.Logger
	present bool

	mu      sync.Mutex
	files   map[key]*listener.FD // what nobody has asked for
	asked   map[*listener.FD]key
	tell    *os.File // the pipe on which the parent waits; nil once it was told
	names   *os.File // ends with the parent
	settled bool
}

// source is a Parent as its generation sees it.
type source Parent

var (
	_ handoff.Source = (*source)(nil)
	_ hook.Replacer  = (*source)(nil)
)

// Source is for [handoff.Config].Sources: the generation asks it for what the program asks for.
func (p *Parent) Source() handoff.Source { return (*source)(p) }

func (p *source) String() string { return "tableflip" }

// Replaces reports whether a process on tableflip has started this one to take its place.
func (p *source) Replaces() bool { return p.present }

// errRollback is that of a process that was started instead of the old program.
var errRollback = errors.New("started by Rollback in place of the old program, but this is a program on segue; put the old file back")

// Inherit takes what the tableflip process that started this one hands over. Call it first, before [handoff.Join] and before
// anything starts a process, because it removes what tableflip has put into the environment. If the process was started in another way, the
// Parent has nothing.
//
// Errors:
//
//	the environment names such a process, and its pipes are not there   nothing was touched. The variable is to be unset
//	the handover fails, such as when ctx ends                           what was named is closed. This process should end
//	[Rollback] has started this process, which is on segue              this process should end
//	sockets cannot be handed over (not on Linux)                        [errors.ErrUnsupported], if tableflip has started it
//
// ctx bounds the time that the parent has to name its files. The parent serves on after an error, if it lives.
//
// The Parent ends itself when the generation has; Close ends it earlier.
func Inherit(ctx context.Context, o Options) (*Parent, error) {
	p := &Parent{log: o.logger(), files: map[key]*listener.FD{}, asked: map[*listener.FD]key{}}
	if os.Getenv(sentinel) == "" {
		return p, nil
	}
	if err := p.inherit(ctx); err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("tableflip: %w", err)
	}
	p.present = true
	p.log.Info("started by a process that runs on tableflip", "parent", os.Getppid(), "files", len(p.files))
	return p, nil
}

// Present reports whether tableflip has started this process.
func (p *Parent) Present() bool { return p.present }

// Open gives a Generation the socket or the file that it asks for, or nil if there is none.
func (p *source) Open(_ context.Context, name, network, address string) (*listener.FD, error) {
	k := keyOf(name, network, address)
	removeSpare(k.path())
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd := p.files[k]; fd != nil {
		delete(p.files, k)
		p.asked[fd] = k
		return fd, nil
	}
	for other := range p.files {
		if k.clashes(other) {
			return nil, fmt.Errorf("tableflip: the old program has this socket by other words; ask for %q, %q", other.network, other.address)
		}
	}
	return nil, nil
}

// UnixPath says which file belongs to a Unix socket: it was bound by a process that runs on tableflip, which leaves it to the last
// one.
func (p *source) UnixPath(fd *listener.FD) *listener.UnixPath {
	p.mu.Lock()
	path := p.asked[fd].path()
	p.mu.Unlock()
	if path == "" {
		return nil
	}
	u, err := listener.StatUnixPath(path)
	if err != nil {
		p.log.Warn("the path of a socket is not what the old program had bound; it is left alone", "path", path, "error", err)
		return nil
	}
	return u
}

// Return takes back what could not be used. It can be asked for again.
func (p *source) Return(fd *listener.FD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.asked[fd]
	if !ok || p.files == nil {
		_ = fd.Close()
		return
	}
	delete(p.asked, fd)
	p.files[k] = fd
}

// Phase ends the Parent with the generation.
func (p *source) Phase(_, to handoff.Phase) {
	if to == handoff.PhaseStopped {
		_ = (*Parent)(p).Close()
	}
}

// Settled tells the old process that this one is ready.
func (p *source) Settled() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settled || p.tell == nil {
		return
	}
	p.settled = true
	for k, fd := range p.files {
		p.log.Info("not asked for; closed", "file", k.String())
		if path := k.path(); path != "" {
			p.remove(path)
		}
		_ = fd.Close()
	}
	clear(p.files)
	_, err := p.tell.Write([]byte{ready}) // a byte in an empty pipe: this does not wait
	if err != nil {
		p.log.Warn("the old process was not told that this one serves; it has ended, or serves on beside this one: end it", "parent", os.Getppid(), "error", err)
	} else {
		p.log.Info("the old process was told that this one serves")
	}
	_ = p.tell.Close()
	p.tell = nil
}

// remove removes the path of a Unix socket that nobody will listen on.
func (p *source) remove(path string) {
	for _, k := range p.asked {
		if k.path() == path {
			return
		}
	}
	if i, err := os.Lstat(path); err != nil || i.Mode().Type() != os.ModeSocket {
		return
	}
	if err := os.Remove(path); err != nil {
		p.log.Warn("a path was left behind", "path", path, "error", err)
	}
}

// Conn returns a connection that the old program has given to tableflip by AddConn, or nil. It is the caller's; [handoff.Generation.Give]
// hands it on later.
func (p *Parent) Conn(network, address string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := key{connKind, network, address}
	fd := p.files[k]
	if fd == nil {
		return nil, nil
	}
	c, err := listener.ConnFromFD(fd)
	if errors.Is(err, listener.ErrSocketType) { // a UDP socket that is connected
		f := fd.File(k.String())
		c, err = net.FileConn(f)
		_ = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("tableflip: %s: %w", k, err)
	}
	delete(p.files, k)
	return c, nil
}

// errUnexpected: tableflip says nothing more (parent.go).
var errUnexpected = errors.New("tableflip: unexpected data from the old process")

// Wait waits until the old process has ended. It returns nil at once if there is none, and net.ErrClosed after Close. Upgrades need not
// wait for that, unlike tableflip's.
func (p *Parent) Wait(ctx context.Context) error {
	p.mu.Lock()
	names := p.names
	p.mu.Unlock()
	if !p.present {
		return nil
	}
	if names == nil {
		return net.ErrClosed
	}
	err := readUntil(ctx, names, func() error {
		n, err := names.Read(make([]byte, 1))
		if n > 0 {
			return errUnexpected
		}
		return err
	})
	switch {
	case isEOF(err):
		return nil
	case errors.Is(err, os.ErrClosed):
		return net.ErrClosed
	}
	return err
}

// Close lets go of what nobody has asked for. The old process serves on if it was not told yet. Idempotent.
func (p *Parent) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fd := range p.files {
		_ = fd.Close()
	}
	p.files = nil
	for _, f := range []**os.File{&p.tell, &p.names} {
		if *f != nil {
			_ = (*f).Close()
			*f = nil
		}
	}
	return nil
}
