package supervise

import "fmt"

// standing is how things are, for who has started this process.
type standing struct {
	serves   bool // a process of COMMAND does
	replaces bool // and the next one starts
	stops    bool
	well     bool // as it should be, served or not
	text     string
}

func (m *machine) standing() standing {
	now := standing{stops: m.ends && !m.stays}
	next := m.the(starting)
	if next == nil {
		next = m.the(failing)
	}
	if s := m.the(serving); s != nil {
		now.serves, now.replaces = true, next != nil
		now.text = fmt.Sprintf("process %d serves", s.server)
	} else {
		now.text = "nobody serves"
	}
	now.well = now.serves || m.away || m.ends
	switch {
	case now.stops:
		now.text = fmt.Sprintf("stops; %d processes have not ended", len(m.procs))
	case m.ends:
		now.text = "COMMAND has ended; stays until SIGTERM"
	case m.away:
		now.text = "another process has taken over at the rendezvous"
	case next != nil:
		now.text += fmt.Sprintf(", process %d starts", next.pid)
	case m.waiting:
		now.text += fmt.Sprintf("; COMMAND is started again after %d failures", m.failed)
	}
	return now
}
