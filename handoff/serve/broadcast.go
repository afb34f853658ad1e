package serve

import "sync"

// broadcast tells any number of goroutines that something has happened, again and again. The zero value is ready for use.
type broadcast struct {
	mu      sync.Mutex
	waiting chan struct{} // nil: nobody waits
}

// next returns a channel that is closed when it happens next.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = make(chan struct{})
	}
	return b.waiting
}

// send says that it happens. It does not block.
func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting != nil {
		close(b.waiting)
		b.waiting = nil
	}
}
