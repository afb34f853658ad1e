package systemd

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// feedLocked starts to feed the watchdog, if there is one: twice in its time, as sd_watchdog_enabled(3) says.
//
// A successor begins when it has confirmed, half of that time later. When ExecReload has ended, systemd reads the PID file again
// (service_sigchld_event in its src/core/service.c). If the successor has confirmed by then, that one is the main process from then
// on, and its predecessor, which feeds until its guard is over, is not heard any more. Which of the two is heard neither can know; the
// other's message is refused, with a line in the journal.
func (s *service) feedLocked() {
	if s.env.watchdog <= 0 || s.feeding || s.n == nil {
		return
	}
	s.feeding = true
	now := s.main
	s.tasks.Go(func() {
		t := time.NewTicker(s.env.watchdog / 2)
		defer t.Stop()
		for well := true; ; now = true {
			if now {
				well = s.feed(s.ctx, well)
			}
			select {
			case <-t.C:
			case <-s.ctx.Done():
				return
			}
		}
	})
}

// feed sends one sign of life. It returns whether all is well, so that a change is logged once.
func (s *service) feed(ctx context.Context, well bool) bool {
	if s.o.Alive != nil {
		ctx, cancel := context.WithTimeout(ctx, s.env.watchdog/2)
		defer cancel()
		if err := s.o.Alive(ctx); err != nil {
			if well && ctx.Err() == nil {
				s.log.Error("not alive by its own account; the watchdog is not fed", "error", err)
			}
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if (s.main || s.perhaps) && !s.ended { // not a word after MAINPID
		s.n.begin()
		s.n.send(daemon.SdNotifyWatchdog)
	}
	return true
}

// repeats are when a new main process says again that it is ready. If its predecessor has died without naming it, systemd may learn
// of that death, and by the PID file of this process, later than this process did; and nothing tells when.
var repeats = []time.Duration{200 * time.Millisecond, time.Second, 3 * time.Second}

func (s *service) repeatLocked() {
	if s.n == nil {
		return
	}
	s.tasks.Go(func() {
		for _, d := range repeats {
			select {
			case <-time.After(d):
			case <-s.ctx.Done():
				return
			}
			s.mu.Lock()
			s.said = ""
			s.n.begin()
			s.announceLocked()
			s.mu.Unlock()
		}
	})
}
