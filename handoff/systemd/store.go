package systemd

import (
	"slices"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/listener"
)

// kept is a socket of the generation.
type kept struct {
	hook.Socket
	fixed  bool   // it belongs to a socket unit
	was    string // the FDNAME that it has in the store, if that is of another name
	stored bool
}

// opened is told of each socket that the generation has.
func (s *service) opened(o hook.Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	k := &kept{Socket: o}
	if i, err := listener.Describe(o.Conn); err == nil {
		k.fixed = s.got.isFixed(i.Cookie)
		s.got.drop(i.Cookie)
		if was := s.returnCopy(i.Cookie); was != escape(o.Name) {
			k.was = was
		}
	}
	s.sockets = append(s.sockets, k)
	if s.phase == handoff.PhaseServing || s.phase == handoff.PhaseProbation || s.phase == handoff.PhaseOffering {
		s.storeLocked()
	}
}

// returnCopy closes the descriptor that systemd passed, of a socket that the generation now has. It returns the FDNAME
// of one that was stored.
func (s *service) returnCopy(cookie uint64) (fdName string) {
	s.taken = slices.DeleteFunc(s.taken, func(l *loan) bool {
		used := l.d.info.Cookie == cookie
		if used {
			_ = l.d.fd.Close()
			if l.d.stored {
				fdName = l.d.fdName
			}
		}
		return used
	})
	return fdName
}

// storeLocked gives systemd a copy of each socket that it does not have. One that it has under another descriptor it recognizes, so
// a successor stores what its predecessor has stored, too.
func (s *service) storeLocked() {
	if !s.main || !s.stores() {
		return
	}
	for _, k := range s.sockets {
		if k.fixed || k.stored {
			continue
		}
		if k.was != "" { // systemd has a socket under one name only, the first
			s.unstoreLocked(k.was)
			k.was = ""
		}
		k.stored = s.store(k)
	}
	if n := s.storable(); s.overfull(n) {
		s.log.Warn("FileDescriptorStoreMax is less than there are sockets; the queues of some are lost at a restart", "sockets", n, "max", s.env.storeMax)
	}
}

// stores reports whether there is a store, as far as can be seen.
func (s *service) stores() bool { return s.n != nil && !s.o.NoStore && s.env.storeMax != 0 }

// keeps reports whether a socket is in the store when this process ends. systemd does not say whether it stops the service
// or restarts it, and in a restart clients must find the path of a Unix socket.
func (s *service) keeps(o hook.Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.sockets, func(k *kept) bool { return k.Conn == o.Conn })
	if i < 0 || s.sockets[i].fixed {
		return false
	}
	if !s.main { // it is the owner, so its predecessor, which is in the guard, has stored it
		return s.stores()
	}
	return s.sockets[i].stored
}

func (s *service) store(k *kept) bool {
	fd, err := listener.Dup(k.Conn)
	if err != nil {
		s.log.Warn("a socket is not in the file descriptor store; its queue is lost at a restart", "name", k.Name, "error", err)
		return false
	}
	defer fd.Close()
	// Without FDPOLL=0, systemd would keep the socket in its epoll, where each connection wakes it.
	return s.n.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+escape(k.Name), fd)
}

// storable is how many sockets are for the store.
func (s *service) storable() (n int) {
	for _, k := range s.sockets {
		if !k.fixed {
			n++
		}
	}
	return n
}

// overfull reports whether n sockets are more than the store takes. systemd closes what is over, and tells nobody.
func (s *service) overfull(n int) bool { return s.env.storeMax > 0 && n > s.env.storeMax }

// closed is told of each socket that is closed for good.
func (s *service) closed(o hook.Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.sockets, func(k *kept) bool { return k.Conn == o.Conn })
	if i < 0 || s.ended {
		return
	}
	k, full := s.sockets[i], s.overfull(s.storable())
	s.sockets = slices.Delete(s.sockets, i, i+1)
	if !k.stored || !s.main {
		return // if it is stored, then by the predecessor, who is told too
	}
	s.unstoreLocked(escape(k.Name))
	if full { // now there is room
		for _, other := range s.sockets {
			other.stored = other.fixed || s.store(other)
		}
	}
}

// unstoreLocked removes what is stored under a FDNAME and not a socket of the generation. systemd removes all of that name, and
// gets those again.
func (s *service) unstoreLocked(fdName string) {
	s.n.send("FDSTOREREMOVE=1\nFDNAME=" + fdName)
	for _, k := range s.sockets {
		if k.stored && escape(k.Name) == fdName {
			k.stored = s.store(k)
		}
	}
}

// emptyStoreLocked removes all sockets of the generation from the store.
func (s *service) emptyStoreLocked() {
	var names []string
	for _, k := range s.sockets {
		if k.stored {
			k.stored = false
			names = append(names, escape(k.Name))
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		s.n.send("FDSTOREREMOVE=1\nFDNAME=" + name)
	}
}
