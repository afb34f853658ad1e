package driver

import (
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// traceLink has messages traced, if somebody wants to know.
func (d *Driver) traceLink(o *link.Options, other string) {
	role := timeline.Incumbent
	if other == "incumbent" {
		role = timeline.Successor
	}
	tell := func(f func(timeline.Message)) func(wire.Message, int) {
		if f == nil {
			return nil
		}
		return func(m wire.Message, descriptors int) {
			e := d.event()
			if r := d.lastRecord(); r != nil && r.role == role {
				e = r.event()
			}
			e.Role = role
			f(timeline.Message{Event: e, Type: timeline.MessageType(m.Type()), Descriptors: descriptors})
		}
	}
	o.Sent, o.Received = tell(d.trace.Sent), tell(d.trace.Received)
}
