package succession

// sucEvent lets the successor at p decide.
func (m *model) sucEvent(w *world, p int, e SuccessorEvent) {
	g, l := &w.procs[p], &w.links[p]
	r := m.suc[g.suc][e]
	m.note.who, m.note.what, m.note.suc = slotNames[p], e.String(), r
	m.note.from, m.note.state, m.note.event = g.suc.String(), uint8(g.suc), uint8(e)
	if r == nil {
		m.wrong = "the successor has no row for it"
		return
	}
	g.suc = r.to
	m.note.to = g.suc.String()
	for _, a := range r.do {
		m.sucAct(w, p, a)
	}
	if g.suc == Gone {
		if i := g.inc; i == Idle {
			g.clear(departing)
		}
		if g.has(accepts) && !g.has(closing) {
			m.wrong = "an owner ends, and nobody wishes it"
		}
		g.clear(accepts)
	}
	switch {
	case m.isRaw: // it says what nobody expects
	case l.has(connsRead) && g.has(accepts):
		m.wrong = "CONNS gets no answer"
	case l.has(upgrade) && g.has(accepts) && g.suc != Trial && g.suc != Leaving && g.suc != LeavingTrial:
		m.wrong = "the UPGRADE is forgotten"
	}
	l.clear(connsRead | upgrade)
}

// sucAct carries out an action of the successor at p.
func (m *model) sucAct(w *world, p int, a Action) {
	g, l := &w.procs[p], &w.links[p]
	switch a {
	case ReadToken:
		g.setSucJob(reading)
	case Open:
		g.setSucJob(opening)
	case HandBack:
		g.clear(accepts)
		g.setSucJob(putting)
		if l.has(settled) {
			m.wrong = "it hands back, and was sure that it would not"
		}
	case PutBack:
		g.setSucJob(putting)
	case SendReceipts:
		m.tell(l, fPrepared)
	case SendFailed:
		m.tell(l, fFailed)
	case SendOwned:
		m.tell(l, fOwned)
	case SendConfirm:
		m.tell(l, fConfirm)
	case SendPong:
		m.tell(l, fPong)
	case SendRelease:
		m.tell(l, fRelease)
	case SendGoodbye:
		m.tell(l, fGoodbye)
		l.set(relieved)
	case Announce:
		g.set(announced)
	case Settle:
		l.set(settled)
	case ReceiveConns:
		if !l.has(connsRead) {
			m.wrong = "it takes what did not come"
		}
		l.clear(connsRead)
		m.tell(l, fTaken)
	case DepartBack:
		g.set(departing)
		m.tell(l, fConns)
	case StartUpgrade:
		l.clear(upgrade)
	case BeginServing:
		if !g.has(accepts) {
			m.wrong = "it begins to serve, and its sockets are closed"
		}
		g.set(began)
	case HangUp:
		switch g.sucJob() {
		case putting:
			g.setSucJob(puttingLast)
		default:
			l.set(upHung)
			l.down = 0
		}
	default:
		m.wrong = "the successor does not know how to " + a.String()
	}
}
