package systemd

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/segue-go/segue/internal/startenv"
	"github.com/segue-go/segue/listener"
)

// ErrSockets is what errors about LISTEN_FDS and its descriptors wrap.
var ErrSockets = errors.New("sockets from systemd")

// given is a socket that systemd has passed to this process by LISTEN_FDS, until somebody takes it.
type given struct {
	number  int    // the descriptor
	fdName  string // as in LISTEN_FDNAMES
	name    string // what the generation called it, if it comes from the store
	stored  bool   // it comes from the file descriptor store, not from a socket unit
	network string // tcp, udp, unix, unixgram, unixpacket
	address string
	err     error // why it cannot be used; nil if it can

	info listener.Info
	fd   *listener.FD // nil if it is no socket, and so may be anything
	path *listener.UnixPath
}

// String names it as in an error.
func (d *given) String() string {
	if d.network == "" {
		return fmt.Sprintf("descriptor %d (%q)", d.number, d.fdName)
	}
	return fmt.Sprintf("descriptor %d (%q, %s %s)", d.number, d.fdName, d.network, d.address)
}

// inheritance is what a process has got from systemd and not yet used. Several generations of a process share it, as they share
// the descriptors from 3 on.
type inheritance struct {
	mu    sync.Mutex
	read  bool
	err   error
	free  []*given
	fixed map[uint64]bool // cookies of sockets that belong to a socket unit, and so are not to be stored
	gone  []string        // names in the store of which nothing can be used
	users int             // services
}

// process is that of this process: the environment says it once.
var process inheritance

// use reads the environment, the first time.
func (h *inheritance) use(log *slog.Logger, read func(*slog.Logger) ([]*given, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.read {
		h.read, h.fixed = true, map[uint64]bool{}
		h.free, h.err = read(log)
		h.sort()
		if h.err == nil {
			h.err = h.refuse()
		}
		h.handOn()
	}
	if h.err != nil {
		return fmt.Errorf("%w: %w", ErrSockets, h.err)
	}
	h.users++
	return nil
}

// sort finds out which sockets are of a socket unit, and lets go of what is in the store without being of use.
func (h *inheritance) sort() {
	for _, d := range h.free {
		if d.fd != nil && !d.stored {
			h.fixed[d.info.Cookie] = true
		}
	}
	h.free = slices.DeleteFunc(h.free, func(d *given) bool {
		useless := d.stored && (d.err != nil || h.fixed[d.info.Cookie])
		if useless {
			h.gone = append(h.gone, d.fdName)
			_ = d.fd.Close()
		}
		return useless
	})
}

// handOn learns from the environment which of the predecessor's sockets belong to a socket unit, and tells successors, which get
// the environment. A number that is left behind there names no socket: the kernel gives each once.
func (h *inheritance) handOn() {
	for text := range strings.SplitSeq(os.Getenv(startenv.UnitSockets), ",") {
		if cookie, err := strconv.ParseUint(text, 10, 64); err == nil {
			h.fixed[cookie] = true
		}
	}
	var all []string
	for _, cookie := range slices.Sorted(maps.Keys(h.fixed)) {
		all = append(all, strconv.FormatUint(cookie, 10))
	}
	if len(all) > 0 {
		_ = os.Setenv(startenv.UnitSockets, strings.Join(all, ","))
	}
}

// refuse returns an error that names what is no socket: nobody can ask for it, so it would never be missed.
func (h *inheritance) refuse() error {
	var all []error
	for _, d := range h.free {
		if d.fd == nil && !d.stored {
			all = append(all, fmt.Errorf("%v cannot be served: %w; remove it from the unit", d, d.err))
		}
	}
	return errors.Join(all...)
}

// take returns the socket that fits best, nil if none does. In this order:
//
//	stored under the name          at the address, or at any port for port 0
//	of a unit, with the name       at the address
//	of a unit, with the name       at another address: the unit has the last word
//	of a unit, or without a name   at the address
//	stored under another name      at the address: nobody else can bind it
func (h *inheritance) take(w wanted) (*given, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	escaped := escape(w.name)
	for _, fits := range []func(d *given) bool{
		func(d *given) bool { return d.fdName == escaped && w.at(d.info, true) },
		func(d *given) bool { return !d.stored && d.fdName == w.name && w.at(d.info, true) },
		func(d *given) bool { return !d.stored && d.fdName == w.name },
		func(d *given) bool { return w.at(d.info, false) && (!d.stored || d.name == "") },
		func(d *given) bool { return w.at(d.info, false) },
	} {
		i := slices.IndexFunc(h.free, fits)
		if i < 0 {
			continue
		}
		d := h.free[i]
		switch {
		case d.err != nil:
			return nil, fmt.Errorf("%w: %v: %w", ErrSockets, d, d.err)
		case !w.kind(d.info):
			return nil, fmt.Errorf("%w: %v is not of network %s; change the unit, or the name", ErrSockets, d, w.network)
		}
		h.free = slices.Delete(h.free, i, i+1)
		return d, nil
	}
	return nil, nil
}

// giveBack takes back what could not be used.
func (h *inheritance) giveBack(d *given) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = append(h.free, d)
}

// drop closes the copy of a socket that the generation has from its predecessor: a supervisor such as "segue run" gives it to each process.
func (h *inheritance) drop(cookie uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = slices.DeleteFunc(h.free, func(d *given) bool {
		same := d.fd != nil && !d.stored && d.info.Cookie == cookie
		if same {
			_ = d.fd.Close()
		}
		return same
	})
}

// isFixed reports whether a socket belongs to a socket unit.
func (h *inheritance) isFixed(cookie uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fixed[cookie]
}

// leave returns what nobody has asked for: the names to remove from the store, whose sockets are closed here and their paths
// removed, and the sockets of units. If another service of this process may yet ask, it returns nothing.
func (h *inheritance) leave(log *slog.Logger) (stored []string, units []*given) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users > 1 {
		return nil, nil
	}
	stored, h.gone = h.gone, nil
	h.free = slices.DeleteFunc(h.free, func(d *given) bool {
		if !d.stored {
			units = append(units, d)
			return false
		}
		stored = append(stored, d.fdName)
		if err := d.path.Unlink(); err != nil { // its last owner has left it for this process
			log.Warn("a path was left behind", "name", d.name, "path", d.path.Path, "error", err)
		}
		_ = d.fd.Close()
		return true
	})
	slices.Sort(stored)
	return slices.Compact(stored), units
}

// stop is called once for each use. The last one closes what is left.
func (h *inheritance) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users--; h.users > 0 {
		return
	}
	for _, d := range h.free {
		_ = d.fd.Close()
	}
	h.free = nil
}
