package otel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/segue-go/segue/handoff/timeline"
)

// root is the name of the span of a handoff, and the beginning of those of its stages.
const root = "segue.handoff"

// export makes the spans of h.
func export(t trace.Tracer, h timeline.Handoff) {
	known := h.Started.Add(h.Duration)
	end := known
	for _, s := range h.Stages {
		if at := endOf(h, s); at.After(end) {
			end = at
		}
	}
	ctx, span := t.Start(context.Background(), root, trace.WithNewRoot(), trace.WithTimestamp(h.Started), trace.WithAttributes(attributes(h)...))
	for _, s := range h.Stages {
		var running []attribute.KeyValue
		if s.Running {
			running = append(running, attribute.Bool("segue.stage.running", true))
		}
		_, child := t.Start(ctx, root+"."+string(s.Stage), trace.WithTimestamp(h.Started.Add(s.Start)), trace.WithAttributes(running...))
		child.End(trace.WithTimestamp(endOf(h, s)))
	}
	refused := known
	if s, ok := h.Stage(timeline.StageWarmup); ok && !s.Running {
		refused = endOf(h, s) // what the program has not asked for by then
	}
	for _, r := range h.Refused {
		span.AddEvent("refused", trace.WithTimestamp(refused), trace.WithAttributes(
			attribute.String("segue.resource.kind", string(r.Kind)),
			attribute.String("segue.resource.name", r.Name),
			attribute.String("segue.resource.reason", string(r.Reason)),
		))
	}
	span.AddEvent(string(h.Result), trace.WithTimestamp(known))
	if h.Result != timeline.Done && h.Result != timeline.Left {
		span.SetStatus(codes.Error, why(h))
	}
	span.End(trace.WithTimestamp(end))
}

func endOf(h timeline.Handoff, s timeline.Span) time.Time { return h.Started.Add(s.Start + s.Duration) }

// why says why h did not end as done.
func why(h timeline.Handoff) string {
	switch {
	case h.Reason == timeline.ReasonNone && h.Error == "":
		return string(h.Result)
	case h.Error == "":
		return string(h.Reason)
	default:
		return string(h.Reason) + ": " + h.Error
	}
}

// attributes are those of the span of h. What is not known is not there.
func attributes(h timeline.Handoff) []attribute.KeyValue {
	var all []attribute.KeyValue
	text := func(key, value string) {
		if value != "" {
			all = append(all, attribute.String(key, value))
		}
	}
	number := func(key string, n int) { all = append(all, attribute.Int(key, n)) }
	text("segue.handoff.id", h.ID)
	text("segue.handoff.cause", string(h.Cause))
	text("segue.handoff.result", string(h.Result))
	text("segue.handoff.reason", string(h.Reason))
	text("segue.handoff.transport", string(h.Transport))
	all = append(all, attribute.Bool("segue.handoff.joined", len(h.Halves) == 2))
	for side, p := range map[string]timeline.Process{"from": h.From, "to": h.To} {
		if p.Generation != 0 {
			number("segue."+side+".generation", p.Generation)
		}
		if p.PID != 0 {
			number("segue."+side+".pid", p.PID)
		}
		text("segue."+side+".program", p.Program)
	}
	var sockets timeline.Sockets
	for _, s := range h.Sockets {
		sockets.Offered += s.Offered
		sockets.Moved += s.Moved
	}
	number("segue.sockets.offered", sockets.Offered)
	number("segue.sockets.moved", sockets.Moved)
	var conns timeline.Conns
	for _, c := range h.Conns {
		conns.Moved += c.Moved
		conns.Kept += c.Kept
		conns.Refused += c.Refused
	}
	number("segue.connections.moved", conns.Moved)
	number("segue.connections.kept", conns.Kept)
	number("segue.connections.refused", conns.Refused)
	var bytes int64
	for _, s := range h.Sections {
		bytes += s.Bytes
	}
	number("segue.state.sections", len(h.Sections))
	all = append(all, attribute.Int64("segue.state.bytes", bytes))
	if h.Exit != nil {
		if h.Exit.Signal == "" {
			number("segue.successor.exit_status", h.Exit.Status)
		}
		text("segue.successor.signal", h.Exit.Signal)
	}
	return all
}
