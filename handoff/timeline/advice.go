package timeline

// next is what an operator does next, by reason.
var next = map[Reason]string{
	ReasonStart:        "See that the new program is where it is looked for, and may be executed.",
	ReasonDied:         "The new process ended by itself: mend what it printed last, and upgrade again.",
	ReasonGaveUp:       "The new process gave up: read the error, mend what it says, and upgrade again.",
	ReasonCheck:        "The new process found itself unfit: read the error and its log, mend that, and upgrade again.",
	ReasonWished:       "Somebody ended the new process (SIGTERM, SIGINT, or exit status 0): upgrade again if that was not meant.",
	ReasonTimeout:      "Something took too long: see in which stage. Mend that, or raise ReadyTimeout, StateTimeout or StepTimeout.",
	ReasonUnresponsive: "The new process stood still after it had taken over: it was stopped, or is stuck. See its log.",
	ReasonProtocol:     "See that the new program is one on segue, and of a release that goes with this one.",
	ReasonVersion:      "Upgrade by a release that speaks the version of the old process; docs/operations.md has more, at Downgrading.",
	ReasonUnauthorized: "Start the new process as the user of the old one, or let Config.Authorize accept it.",
	ReasonTransport:    "Let both sides use the same Config.Transport; segue doctor says what works here.",
	ReasonDescriptors:  "Raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=) for both processes; segue doctor says what is needed.",
	ReasonState:        "A section of state did not move: mend what the error says, and upgrade again.",
	ReasonChanged:      "Upgrade again.",
	ReasonBusy:         "Wait until the other handoff has ended, and upgrade again.",
	ReasonDisplaced:    "Another successor came: see who starts successors of this program.",
	ReasonCanceled:     "Whoever asked for the upgrade has given it up: upgrade again.",
	ReasonUnsupported:  "This process cannot hand over as it was started: read the error.",
	ReasonOther:        "Read the error, and the logs of both processes.",
}

// Advice is what an operator does next about a handoff that did not end as done, in a sentence or two; "" if there is nothing to do.
func (h *Handoff) Advice() string {
	switch h.Result {
	case Done, Running, Left:
		return ""
	case Stale:
		return "Nobody serves: the state of the old process is behind. Start the program."
	case Orphaned:
		return "Nobody serves since then, unless somebody has started the program: start it."
	}
	text, ok := next[h.Reason]
	if !ok {
		return ""
	}
	return text + " The old process serves on."
}
