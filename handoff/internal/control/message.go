package control

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/timeline"
)

// One request is made on a connection (SOCK_SEQPACKET), and one or more answers follow. Each is one packet with one JSON object, of
// MaxMessage bytes at most. Members that are not known are ignored, so that a later release can add some. A request that is not
// known is refused, by its name.
const (
	// Version is that of the messages. It changes only if somebody who knows the last one would misunderstand.
	Version = 1
	// MaxMessage is the length of the longest message, in bytes.
	MaxMessage = 64 << 10
	// Suffix is what the path of the control socket has more than that of the rendezvous.
	Suffix = ".control"

	// Heartbeat is how often somebody hears that what was asked for is still under way.
	Heartbeat = time.Second
	// perMessage is how many sockets one message names, so that it stays short enough.
	perMessage = 32
	// maxText bounds a text, such as an error with the last output of a successor.
	maxText = 16 << 10
	// maxName bounds the name of a socket, and what else is said of it.
	maxName = 512
)

// What can be asked.
const (
	DoStatus  = "status"
	DoUpgrade = "upgrade"
	DoStop    = "stop"
	DoHistory = "history"
	DoRetire  = "retire" // Request.Generation says which; 0: all that drain
	DoWatch   = "watch"
)

// What is answered. A last one is status, done or refused; sockets come before status, and handoff before the done of history.
const (
	Handoff = "handoff" // a record of a handoff; to watch: it is new, or has come further
	Drain   = "drain"   // to watch: older generations that drain, as they say now
	Lost    = "lost"    // to watch: Count changes of phase were not told, since who watches is too slow
	Sockets = "sockets" // some of those of the status that follows
	State   = "status"  // the end of an answer to status
	Begun   = "begun"   // the request is accepted, and is carried out whether somebody listens or not
	Phase   = "phase"   // the generation has come to another phase
	Alive   = "alive"   // nothing new, but it is still at work
	Done    = "done"    // it has ended: Code says how
	Refused = "refused" // nothing was done: Code says why
)

// Codes of done and refused.
const (
	CodeOK           = "ok"
	CodeFailed       = "failed"       // Reason says why
	CodeBusy         = "busy"         // another handoff is under way
	CodeElsewhere    = "elsewhere"    // this generation does not own: ask again, the owner answers there soon
	CodeUnauthorized = "unauthorized" // whoever asks may not
	CodeUnknown      = "unknown"      // there is no such request
	CodeVersion      = "version"      // the version is not known
	CodeMalformed    = "malformed"    // no request could be read
)

// Request is what somebody asks.
type Request struct {
	Version int    `json:"version"`
	Do      string `json:"request"`
	// Generation is the one that is to end, for retire.
	Generation int `json:"generation,omitempty"`
}

// Answer is one of the answers. Which members it has follows from Event.
type Answer struct {
	Version    int      `json:"version"`
	Event      string   `json:"event"`
	Code       string   `json:"code,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	Generation int      `json:"generation,omitempty"` // of the one that answers
	PID        int      `json:"pid,omitempty"`        // likewise, as it numbers itself
	Phase      string   `json:"phase,omitempty"`      // likewise
	Millis     int64    `json:"ms,omitempty"`         // since the request
	Successor  int      `json:"successor,omitempty"`  // process id
	Status     *Status  `json:"status,omitempty"`
	Sockets    []Socket `json:"sockets,omitempty"`

	At          time.Time             `json:"at,omitzero"` // of a phase, to watch
	Count       int                   `json:"count,omitempty"`
	Chain       *timeline.Chain       `json:"chain,omitempty"` // beside Status, without the sockets
	Handoff     *timeline.Handoff     `json:"handoff,omitempty"`
	Generations []timeline.Generation `json:"generations,omitempty"` // of drain
}

// Status is what a generation says of itself.
type Status struct {
	Generation  int       `json:"generation"`
	PID         int       `json:"pid"`
	Phase       string    `json:"phase"`
	Since       time.Time `json:"since"` // the phase began
	Predecessor int       `json:"predecessor,omitempty"`
	Successor   int       `json:"successor,omitempty"`
	Arrived     int       `json:"arrived"`
	Moved       int       `json:"moved"`
	LastError   string    `json:"last_error,omitempty"`
	Sockets     []Socket  `json:"sockets"` // not in a message: they come before it
}

// Socket is one of its resources.
type Socket struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Network   string `json:"network"`
	Address   string `json:"address"`
	Inherited bool   `json:"inherited"`
}

// encode makes a message of a, whose texts it cuts to what a message may have.
func encode(a Answer) ([]byte, error) {
	a.Version = Version
	a.Reason = chronicle.Cut(a.Reason, maxText)
	if a.Status != nil {
		s := *a.Status
		s.LastError = chronicle.Cut(s.LastError, maxText)
		a.Status = &s
	}
	if a.Handoff != nil {
		h := fit(*a.Handoff, MaxMessage/2)
		a.Handoff = &h
	}
	if a.Generations = clip(a.Generations); a.Chain != nil {
		c := *a.Chain
		c.Generations = clip(c.Generations)
		if c.Last != nil {
			last := fit(*c.Last, MaxMessage/4)
			c.Last = &last
		}
		a.Chain = &c
	}
	b, err := json.Marshal(a)
	if err == nil && len(b) > MaxMessage {
		err = fmt.Errorf("a message of %d bytes", len(b))
	}
	return b, err
}

// Bounds of what a message says of generations.
const (
	maxGenerations = 17 // the one that is asked, and those that a report may name
	maxError       = 256
)

// clip returns generations so that they fit a message. Their sockets are said apart.
func clip(all []timeline.Generation) []timeline.Generation {
	all = slices.Clone(all[:min(len(all), maxGenerations)])
	for i := range all {
		all[i].Sockets, all[i].Error = nil, chronicle.Cut(all[i].Error, maxError)
		all[i].Waits = all[i].Waits[:min(len(all[i].Waits), 8)]
	}
	return all
}

// fit returns h in no more than that many bytes: of what is too long, half is left out until it fits.
func fit(h timeline.Handoff, most int) timeline.Handoff {
	for {
		b, err := json.Marshal(h)
		if err != nil || len(b) <= most {
			return h
		}
		h.Refused, h.Sections = h.Refused[:len(h.Refused)/2], h.Sections[:len(h.Sections)/2]
		h.Error, h.Output = chronicle.Cut(h.Error, max(len(h.Error)/2, minText)), chronicle.Cut(h.Output, max(len(h.Output)/2, minText))
		if len(h.Refused)+len(h.Sections) == 0 && len(h.Error) <= minText && len(h.Output) <= minText {
			return h // all else has bounds that are far below
		}
	}
}

// minText is what is left of a text at the least, in bytes.
const minText = 512

// SayStatus says s, and what the chain does, in as many messages as that takes.
func SayStatus(say func(Answer) error, s Status, c timeline.Chain) error {
	all := s.Sockets
	s.Sockets = []Socket{}
	for len(all) > 0 {
		n := min(len(all), perMessage)
		part := make([]Socket, n)
		for i, o := range all[:n] {
			part[i] = Socket{Name: chronicle.Cut(o.Name, maxName), Kind: o.Kind, Network: o.Network, Address: chronicle.Cut(o.Address, maxName), Inherited: o.Inherited}
		}
		if err := say(Answer{Event: Sockets, Sockets: part}); err != nil {
			return err
		}
		all = all[n:]
	}
	return say(Answer{Event: State, Status: &s, Chain: &c})
}
