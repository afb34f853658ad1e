package main

import (
	"maps"
	"sync"
	"time"
)

// maxClients bounds how many clients a limiter knows.
const maxClients = 100_000

// limiter allows each client a number of requests at once, and a rate in the long run: each has a bucket of tokens.
type limiter struct {
	rate  float64 // tokens a second
	burst float64 // tokens of a full bucket

	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket is what a client has left.
type bucket struct {
	Tokens float64
	At     time.Time // when that was so; by the wall clock, which the successor reads too
}

func newLimiter(rate float64, burst int) *limiter {
	return &limiter{rate: rate, burst: float64(burst), buckets: make(map[string]bucket)}
}

// allow takes one token of a client, if there is one.
func (l *limiter) allow(client string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[client]
	if !ok {
		if len(l.buckets) >= maxClients && !l.forget(now) {
			return false
		}
		b = bucket{Tokens: l.burst, At: now}
	}
	b = l.fill(b, now)
	allowed := b.Tokens >= 1
	if allowed {
		b.Tokens--
	}
	l.buckets[client] = b
	return allowed
}

// fill adds the tokens that have become due.
func (l *limiter) fill(b bucket, now time.Time) bucket {
	// A clock that was set back takes none away.
	due := max(0, now.Sub(b.At).Seconds()) * l.rate
	return bucket{Tokens: min(l.burst, b.Tokens+due), At: now}
}

// forget forgets the clients whose buckets are full again, as one who is not known has a full one too. It reports whether
// there were any. Callers hold mu.
func (l *limiter) forget(now time.Time) bool {
	maps.DeleteFunc(l.buckets, func(_ string, b bucket) bool { return l.fill(b, now).Tokens >= l.burst })
	return len(l.buckets) < maxClients
}

// all returns a copy of the buckets.
func (l *limiter) all() map[string]bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.buckets)
}

// replace takes buckets.
func (l *limiter) replace(buckets map[string]bucket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets = buckets
}
