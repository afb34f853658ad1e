package serve

import "sync"

// beat is something that happens again and again, for any number of those who wait for it. The zero value is ready for use.
type beat struct {
	mu   sync.Mutex
	beat chan struct{} // nil: nobody waits
}

// next returns a channel that is closed when it happens next.
func (b *beat) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.beat == nil {
		b.beat = make(chan struct{})
	}
	return b.beat
}

// strike says that it happens. It does not block.
func (b *beat) strike() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.beat != nil {
		close(b.beat)
		b.beat = nil
	}
}
