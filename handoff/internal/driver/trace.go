package driver

import (
	"os"
	"time"

	"github.com/segue-go/segue/handoff/timeline"
)

// reportEvery is how often a generation that drains looks whether it has something to tell.
const reportEvery = time.Second

// event is what every event of a Trace has, outside of a handoff.
func (d *Driver) event() timeline.Event {
	return timeline.Event{Time: time.Now(), Generation: int(d.numberNow.Load()), PID: os.Getpid()}
}

// tracePhase tells of a change of phase.
func (d *Driver) tracePhase(from, to Phase) {
	if f := d.trace.Phase; f != nil {
		f(timeline.PhaseChange{Event: d.event(), From: timeline.Phase(from.String()), To: timeline.Phase(to.String())})
	}
}
