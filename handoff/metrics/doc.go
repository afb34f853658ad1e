// Package metrics shows Prometheus what a chain of generations does. [New] makes a prometheus.Collector of a generation:
//
//	registry.MustRegister(metrics.New(gen))
//
// # What there is
//
//	segue_handoffs_total{role,result}                    counter    handoffs; each counts once for each of its two processes
//	segue_handoffs_undone_total{result,reason}           counter    after the successor had owned: rolledback, revived, stale
//	segue_handoff_stage_duration_seconds{stage}          histogram  how long the stages of handoffs took
//	segue_handoff_accept_gap_seconds                     histogram  how long nobody accepted
//	segue_sockets_moved_total{kind,transport}            counter
//	segue_connections_moved_total{kind,transport}        counter    live connections
//	segue_handoff_last_success_timestamp_seconds         gauge      a successor has confirmed; 0: none has yet
//	segue_generation                                     gauge      the number of this generation
//	segue_generations{phase}                             gauge      this one, and the older ones that it knows of
//	segue_connections{state}                             gauge      active, idle, parked; draining: left in older generations
//	segue_descriptors, segue_descriptors_limit           gauge      of this process: open, and RLIMIT_NOFILE (Linux)
//
// The words in the labels are those of package timeline. A word that this release does not know, from a generation of a later
// one, counts as "other".
//
// # Through an upgrade
//
// Counters belong to the chain: they travel with the sockets and go on where they were. If a process dies that nobody wished
// to end, and its predecessor serves again, they begin anew at 0: Prometheus takes that for a restart, and counts nothing
// twice. Every series is there from the start, at 0, so that increase() sees the first event.
//
// A scrape reaches the generation that serves, which also reports for older ones that drain. A kept connection that has not
// moved yet may carry one more scrape to a generation that was superseded: its counters are those from before, so that they never
// go back. A generation that does not own yet reports nothing.
package metrics
