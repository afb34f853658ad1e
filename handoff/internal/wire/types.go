package wire

// Values of the member "type".
const (
	typeHello    = "hello"
	typeWelcome  = "welcome"
	typeWait     = "wait"
	typeBusy     = "busy"
	typeRefuse   = "refuse"
	typeOffer    = "offer"
	typeTaken    = "taken"
	typePrepared = "prepared"
	typeState    = "state"
	typeSaved    = "saved"
	typeRestored = "restored"
	typeCommit   = "commit"
	typeOwned    = "owned"
	typeConfirm  = "confirm"
	typeFailed   = "failed"
	typeAbort    = "abort"
	typeRelease  = "release"
	typeReleased = "released"
	typeDrop     = "drop"
	typePing     = "ping"
	typePong     = "pong"
	typeBye      = "bye"
	typeGoodbye  = "goodbye"
	typeConns    = "conns"
	typeUpgrade  = "upgrade"
	typeReport   = "report"
	typeRetire   = "retire"
)

// newMessage returns an empty message of a type of version 1, or nil.
func newMessage(typ string) Message {
	switch typ {
	case typeHello:
		return new(Hello)
	case typeWelcome:
		return new(Welcome)
	case typeWait:
		return new(Wait)
	case typeBusy:
		return new(Busy)
	case typeRefuse:
		return new(Refuse)
	case typeOffer:
		return new(Offer)
	case typeTaken:
		return new(Taken)
	case typePrepared:
		return new(Prepared)
	case typeState:
		return new(State)
	case typeSaved:
		return new(Saved)
	case typeRestored:
		return new(Restored)
	case typeCommit:
		return new(Commit)
	case typeOwned:
		return new(Owned)
	case typeConfirm:
		return new(Confirm)
	case typeFailed:
		return new(Failed)
	case typeAbort:
		return new(Abort)
	case typeRelease:
		return new(Release)
	case typeReleased:
		return new(Released)
	case typeDrop:
		return new(Drop)
	case typePing:
		return new(Ping)
	case typePong:
		return new(Pong)
	case typeUpgrade:
		return new(Upgrade)
	case typeReport:
		return new(Report)
	case typeRetire:
		return new(Retire)
	case typeBye:
		return new(Bye)
	case typeGoodbye:
		return new(Goodbye)
	case typeConns:
		return new(Conns)
	}
	return nil
}

// Type returns "hello".
func (*Hello) Type() string { return typeHello }

// Type returns "welcome".
func (*Welcome) Type() string { return typeWelcome }

// Type returns "wait".
func (*Wait) Type() string { return typeWait }

// Type returns "busy".
func (*Busy) Type() string { return typeBusy }

// Type returns "refuse".
func (*Refuse) Type() string { return typeRefuse }

// Type returns "offer".
func (*Offer) Type() string { return typeOffer }

// Type returns "taken".
func (*Taken) Type() string { return typeTaken }

// Type returns "prepared".
func (*Prepared) Type() string { return typePrepared }

// Type returns "state".
func (*State) Type() string { return typeState }

// Type returns "saved".
func (*Saved) Type() string { return typeSaved }

// Type returns "restored".
func (*Restored) Type() string { return typeRestored }

// Type returns "commit".
func (*Commit) Type() string { return typeCommit }

// Type returns "owned".
func (*Owned) Type() string { return typeOwned }

// Type returns "confirm".
func (*Confirm) Type() string { return typeConfirm }

// Type returns "failed".
func (*Failed) Type() string { return typeFailed }

// Type returns "abort".
func (*Abort) Type() string { return typeAbort }

// Type returns "release".
func (*Release) Type() string { return typeRelease }

// Type returns "released".
func (*Released) Type() string { return typeReleased }

// Type returns "drop".
func (*Drop) Type() string { return typeDrop }

// Type returns "ping".
func (*Ping) Type() string { return typePing }

// Type returns "pong".
func (*Pong) Type() string { return typePong }

// Type returns "upgrade".
func (*Upgrade) Type() string { return typeUpgrade }

// Type returns "report".
func (*Report) Type() string { return typeReport }

// Type returns "retire".
func (*Retire) Type() string { return typeRetire }

// Type returns "bye".
func (*Bye) Type() string { return typeBye }

// Type returns "goodbye".
func (*Goodbye) Type() string { return typeGoodbye }

// Type returns "conns".
func (*Conns) Type() string { return typeConns }
