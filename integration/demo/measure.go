package main

import (
	"slices"
	"time"

	"github.com/segue-go/segue/integration/load"
	"github.com/segue-go/segue/integration/measured"
)

// drawn is how many connections of each kind are told one by one.
const drawn = 8

// measured returns what a picture is drawn from. It comes after the report, which excuses what is excused.
func (d *demo) measured() measured.Demo {
	m := measured.Demo{Seconds: d.since(d.result.Ended), Events: d.marks()}
	place := map[int]int{} // in m.Generations, by pid
	for n, pid := range d.http.chain {
		place[pid] = len(m.Generations)
		m.Generations = append(m.Generations, measured.Generation{Number: n + 1, PID: pid})
	}
	for _, x := range d.deaths.all() {
		place[x.pid] = len(m.Generations)
		m.Generations = append(m.Generations, measured.Generation{PID: x.pid, Failed: true})
	}
	for _, k := range d.result.Kinds {
		for s := range k.Samples() {
			g, ok := place[s.PID]
			if !ok {
				g = -1
			}
			m.Requests = append(m.Requests, measured.Request{At: d.since(s.End), Latency: s.Latency.Seconds(), Generation: g})
		}
		for _, f := range k.Failures {
			m.Failures = append(m.Failures, measured.Failure{At: d.since(f.At)})
		}
		for _, f := range k.Pardoned {
			m.Failures = append(m.Failures, measured.Failure{At: d.since(f.At), Excused: true})
		}
		switch k.Kind {
		case load.Kept:
			m.Lines = append(m.Lines, d.lines(&k, true)...)
			m.Lasting = append(m.Lasting, measured.Lasting{Kind: "kept", Connections: d.traffic().Kept, Lost: k.Failed + k.Forced + k.Reconnects})
		case load.Idle:
			m.Lines = append(m.Lines, d.lines(&k, false)...)
			m.Lasting = append(m.Lasting, measured.Lasting{Kind: "idle", Connections: d.traffic().Idle, Lost: k.Failed + k.Forced + k.Reconnects})
		}
	}
	m.Lines = append(m.Lines, d.chatLines()...)
	m.Lasting = append(m.Lasting, measured.Lasting{Kind: "chat", Connections: chatUsers, Lost: d.talk.Dropped + d.talk.Reconnects})
	return m
}

// since returns seconds since the load began.
func (d *demo) since(t time.Time) float64 { return t.Sub(d.result.Begun).Seconds() }

// marks are the events that a picture shows.
func (d *demo) marks() []measured.Event {
	var marks []measured.Event
	for _, e := range d.events {
		if e.mark == "" {
			continue
		}
		mark := measured.Event{At: d.since(e.at), Label: e.mark, Failed: !e.upgrade}
		if e.until.After(e.at) {
			mark.Until = d.since(e.until)
		}
		marks = append(marks, mark)
	}
	return marks
}

// lines tell who answered on the first few connections of a kind: where that changes, or each answer.
func (d *demo) lines(k *load.KindResult, changes bool) []measured.Line {
	lines := make([]measured.Line, drawn)
	for s := range k.Samples() {
		if s.Worker >= drawn {
			continue
		}
		l, g := &lines[s.Worker], slices.Index(d.http.chain, s.PID)+1
		if len(l.Served) == 0 {
			l.From = d.since(s.Start)
		}
		l.To = d.since(s.End)
		if !changes || len(l.Served) == 0 || l.Served[len(l.Served)-1].Generation != g {
			l.Served = append(l.Served, measured.Service{At: l.To, Generation: g})
		}
	}
	for _, f := range slices.Concat(k.Failures, k.Pardoned) {
		if f.Worker < drawn {
			lines[f.Worker].Breaks = append(lines[f.Worker].Breaks, d.since(f.At))
		}
	}
	return named(lines, k.Kind.String())
}

// chatLines tell by whom the first few users of the chat were served.
func (d *demo) chatLines() []measured.Line {
	lines := make([]measured.Line, drawn)
	for _, s := range d.talk.Served {
		if s.User >= drawn {
			continue
		}
		l, at := &lines[s.User], d.since(s.At)
		if len(l.Served) == 0 {
			l.From = at
		}
		l.To = d.since(d.talk.Ended)
		l.Served = append(l.Served, measured.Service{At: at, Generation: slices.Index(d.chat.chain, s.PID) + 1})
	}
	for _, f := range d.talk.Failures {
		if f.Worker < drawn {
			lines[f.Worker].Breaks = append(lines[f.Worker].Breaks, d.since(f.At))
		}
	}
	return named(lines, load.ChatUser.String())
}

// named leaves out connections that were never used.
func named(lines []measured.Line, kind string) []measured.Line {
	for i := range lines {
		lines[i].Kind = kind
	}
	return slices.DeleteFunc(lines, func(l measured.Line) bool { return len(l.Served) == 0 })
}
