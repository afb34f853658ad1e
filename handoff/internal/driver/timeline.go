package driver

import "github.com/segue-go/segue/handoff/timeline"

// History returns the records of the last handoffs of the chain.
func (d *Driver) History() []timeline.Handoff { return nil }

// Counters returns the totals of the chain.
func (d *Driver) Counters() timeline.Counters { return timeline.Counters{Version: timeline.Version} }

// Chain returns what the generations do now.
func (d *Driver) Chain() timeline.Chain { return timeline.Chain{Version: timeline.Version} }
