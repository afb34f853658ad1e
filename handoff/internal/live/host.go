package live

// Host is embedded in a generation, under a name that is not exported, so that package serve reaches by [AddHolder] what is no
// part of the generation's API. The zero value adds nothing.
type Host struct {
	add func(Holder) (exact bool, remove func())
}

// Hosted is what embeds a Host: nothing else has the method, whose name only this package can say.
type Hosted interface {
	addHolder(h Holder) (exact bool, remove func())
}

// NewHost makes a Host that adds a Holder by calling add.
func NewHost(add func(h Holder) (exact bool, remove func())) Host { return Host{add} }

func (h Host) addHolder(x Holder) (exact bool, remove func()) {
	if h.add == nil {
		return false, func() {}
	}
	return h.add(x)
}

// AddHolder has h stop requests while sections of state of a generation move. exact reports whether there are any that move in
// the gap of the switch. remove undoes it.
func AddHolder(generation Hosted, h Holder) (exact bool, remove func()) {
	return generation.addHolder(h)
}
