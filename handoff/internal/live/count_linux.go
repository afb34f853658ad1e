package live

// Parked is how many connections are parked, or about to arrive.
func (l *Lot) Parked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used.n
}
