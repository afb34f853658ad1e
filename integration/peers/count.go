package main

import (
	"github.com/segue-go/segue/integration/load"
	"github.com/segue-go/segue/integration/measured"
)

// count adds what the clients noticed.
//
// The client of an idle connection that ended connects again. Requests that fail in doing so are not counted: the loss of its
// connection is.
func count(m *measured.Peer, r *load.Result) {
	for _, k := range r.Kinds {
		m.Requests += k.Requests
		l := k.Latencies()
		m.P99 = max(m.P99, l.P99.Seconds())
		m.Longest = max(m.Longest, l.Max.Seconds())
		switch k.Kind {
		case load.Idle:
			m.IdleLost += k.Forced + k.Reconnects
			for _, f := range k.Failures {
				if !f.Forced && f.Answered > 0 {
					m.IdleLost++
				}
			}
			continue
		case load.Slow:
			m.Slow, m.SlowLost = k.Requests, k.Failed
		}
		m.Failed += k.Failed
		m.Forced += k.Forced + k.Reconnects
		m.Told += k.Reconnects
	}
}
