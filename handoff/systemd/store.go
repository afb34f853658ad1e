package systemd

import (
	"slices"
	"syscall"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/listener"
)

// kept is a socket of the generation.
type kept struct {
	handoff.SocketStatus
	conn   syscall.Conn
	fixed  bool // it belongs to a socket unit
	stored bool
}

// opened is told of each socket that the generation has.
func (s *Service) opened(so handoff.SocketStatus, conn syscall.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	k := &kept{SocketStatus: so, conn: conn}
	if i, err := listener.Describe(conn); err == nil {
		k.fixed = s.got.isFixed(i.Cookie)
		s.returnCopy(i.Cookie)
	}
	s.sockets = append(s.sockets, k)
	if s.phase == handoff.PhaseServing || s.phase == handoff.PhaseProbation || s.phase == handoff.PhaseOffering {
		s.storeLocked()
	}
}

// returnCopy closes the descriptor that systemd passed, of a socket that the generation now has.
func (s *Service) returnCopy(cookie uint64) {
	s.taken = slices.DeleteFunc(s.taken, func(l *loan) bool {
		used := l.d.info.Cookie == cookie
		if used {
			_ = l.d.fd.Close()
		}
		return used
	})
}

// storeLocked gives systemd a copy of each socket that it does not have. One that it has under another descriptor it recognizes, so
// a successor stores what its predecessor has stored, too.
func (s *Service) storeLocked() {
	if !s.main || s.n == nil || s.o.NoStore || s.env.storeMax == 0 {
		return
	}
	for _, k := range s.sockets {
		if k.fixed || k.stored {
			continue
		}
		k.stored = s.store(k)
	}
	if n := len(s.sockets); s.env.storeMax > 0 && n > s.env.storeMax {
		s.log.Warn("FileDescriptorStoreMax is less than there are sockets; the queues of some are lost at a restart", "sockets", n, "max", s.env.storeMax)
	}
}

func (s *Service) store(k *kept) bool {
	fd, err := listener.Dup(k.conn)
	if err != nil {
		s.log.Warn("a socket is not in the file descriptor store; its queue is lost at a restart", "name", k.Name, "error", err)
		return false
	}
	defer fd.Close()
	// Without FDPOLL=0, systemd would keep the socket in its epoll, where each connection wakes it.
	return s.n.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+Escape(k.Name), fd)
}

// closed is told of each socket that is closed for good.
func (s *Service) closed(so handoff.SocketStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.sockets, func(k *kept) bool { return k.Name == so.Name && k.Address == so.Address && k.Kind == so.Kind })
	if i < 0 || s.ended {
		return
	}
	k := s.sockets[i]
	s.sockets = slices.Delete(s.sockets, i, i+1)
	if !k.stored || !s.main {
		return // if it is stored, then by the predecessor, who is told too
	}
	s.n.send("FDSTOREREMOVE=1\nFDNAME=" + Escape(k.Name))
	for _, other := range s.sockets { // systemd removes all of that name
		if other.Name == k.Name && other.stored {
			other.stored = s.store(other)
		}
	}
}
