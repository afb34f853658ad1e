package live

// tally counts connections, and tells those who wait when there are none. The zero value has none. It is guarded by whoever
// has it.
type tally struct {
	n    int
	none chan struct{} // made by whoever waits
}

func (t *tally) add(n int) {
	if t.n += n; t.n == 0 && t.none != nil {
		close(t.none)
		t.none = nil
	}
}

// wait returns a channel that is closed once there are none.
func (t *tally) wait() <-chan struct{} {
	if t.none == nil {
		t.none = make(chan struct{})
	}
	none := t.none
	t.add(0)
	return none
}
