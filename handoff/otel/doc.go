// Package otel shows the handoffs of a chain of generations as traces of OpenTelemetry. [New] makes an exporter for a generation:
//
//	spans := otel.New(gen, provider)
//	defer spans.Shutdown(ctx)
//
// It needs the API of OpenTelemetry only; provider is one of the SDK, or any other trace.TracerProvider.
//
// # What there is
//
// A handoff is one trace: a span "segue.handoff", joined from what both processes know, and under it one for each stage, such as
// "segue.handoff.warmup". The stages are those of package timeline. Start and end are those of the records. The span lasts until
// its last stage has ended; an event with the name of the result, such as "done", says when that was known.
//
//	segue.handoff.id                            16 hexadecimal digits, also in the log and in History
//	segue.handoff.cause, .result, .reason       words of package timeline
//	segue.handoff.transport                     how descriptors went over: sent or taken; absent: none did
//	segue.handoff.joined                        whether both processes have told of it
//	segue.from.generation, .pid, .program       the incumbent; absent: not known
//	segue.to.generation, .pid, .program         the successor; likewise
//	segue.sockets.offered, .moved               sockets and files
//	segue.connections.moved, .kept, .refused    live connections
//	segue.state.sections, .bytes                named sections of state
//	segue.successor.exit_status, .signal        how a successor ended that failed, if it is known
//	segue.stage.running                         of a stage: it had not ended when the span was exported
//
// Each resource that did not go over is an event "refused", with segue.resource.kind, .name and .reason. The status is Error, with
// the reason and the text of the error, unless the handoff is done, or the incumbent was closed and has left the sockets to its successor. What
// a failed successor printed is not in it: that is in the log and in History.
//
// # Who exports
//
// Each handoff is exported by one of its two processes, once:
//
//	done                      the successor, when it cannot be undone any more (the incumbent's guard is over) and all stages
//	                          have ended: see Patience. Earlier, if the successor is itself superseded or shut down
//	failed, aborted,          the incumbent, which serves on or again
//	  rolledback, revived
//	stale                     the incumbent
//	orphaned                  the incumbent; but not if the successor had confirmed and the guard was over for as long as
//	                          Patience, since the successor has exported it as done
//	left                      the successor
//	done, and the successor   the incumbent, when it has drained or is shut down
//	  keeps no records: it is of an
//	  older release, or no program of segue
//	rescue                    the successor
//
// A handoff that was done and is revived is one span with the result revived, not two. What is not exported yet is lost with the process that
// is to export it, if that is killed; what a revived incumbent or the next generation still knows of it is in History. A
// successor without an exporter exports nothing.
package otel
