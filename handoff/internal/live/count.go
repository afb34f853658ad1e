package live

// Counter is what a [Server] may implement, to say what its connections do now.
type Counter interface {
	// Count counts those on which something is being answered, and those whose clients are silent.
	Count() (active, idle int)
}

// Count counts the connections of all servers that say so.
func (x *Exchange) Count() (active, idle int) {
	x.mu.Lock()
	var all []Counter
	for _, servers := range x.servers {
		for _, r := range servers {
			if c, ok := r.server.(Counter); ok {
				all = append(all, c)
			}
		}
	}
	x.mu.Unlock()
	for _, c := range all {
		a, i := c.Count()
		active, idle = active+a, idle+i
	}
	return active, idle
}
