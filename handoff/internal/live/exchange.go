package live

import (
	"context"
	"net"
	"sync"
)

// Key names where a connection belongs: to a socket of this generation, and what its server there speaks.
type Key struct {
	Socket   any // comparable; whoever makes Keys says what it is
	Protocol string
}

// Exchange knows the servers of one generation, and tells them what becomes of their connections. The zero value is
// ready for use. Its methods may be called concurrently.
type Exchange struct {
	op sync.Mutex // held while servers are told; taken before mu

	mu        sync.Mutex
	servers   map[Key][]*registration
	arrivals  int  // connections that arrived so far
	held      bool // Hold was called, and neither Resume nor Depart since; guarded by op
	holders   []*holding
	departure func(Key) Departure // nil: nobody leaves; its result is nil for what the successor does not take
}

type registration struct{ server Server }

// Register adds s to those that track the connections of k, and take those that arrive for it. If there are several,
// they take turns.
func (x *Exchange) Register(k Key, s Server) (unregister func()) {
	x.op.Lock()
	defer x.op.Unlock()
	r := &registration{s}
	x.mu.Lock()
	if x.servers == nil {
		x.servers = make(map[Key][]*registration)
	}
	x.servers[k] = append(x.servers[k], r)
	departure := x.departure
	x.mu.Unlock()
	depart(s, k, departure)
	return func() {
		x.op.Lock()
		defer x.op.Unlock()
		x.mu.Lock()
		defer x.mu.Unlock()
		for i, other := range x.servers[k] {
			if other == r {
				x.servers[k] = append(x.servers[k][:i:i], x.servers[k][i+1:]...)
			}
		}
		if len(x.servers[k]) == 0 {
			delete(x.servers, k)
		}
	}
}

func depart(s Server, k Key, departure func(Key) Departure) {
	if departure == nil {
		return
	}
	if d := departure(k); d != nil {
		s.Depart(d)
	}
}

// Keys returns where connections can arrive, in no order.
func (x *Exchange) Keys() []Key {
	x.mu.Lock()
	defer x.mu.Unlock()
	keys := make([]Key, 0, len(x.servers))
	for k := range x.servers {
		keys = append(keys, k)
	}
	return keys
}

// Serves reports whether a connection of k can arrive.
func (x *Exchange) Serves(k Key) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.servers[k]) > 0
}

// Depart tells the servers that their connections leave, each by what departure returns for its key, and those that
// register from now on. Where departure returns nil they stay.
func (x *Exchange) Depart(departure func(Key) Departure) {
	x.op.Lock()
	defer x.op.Unlock()
	held := x.held
	x.held = false
	if held {
		for _, h := range x.holding() {
			h.Gone() // first: what is not held any more finds that the state has moved
		}
	}
	for k, servers := range x.begin(departure) {
		d := departure(k)
		for _, r := range servers {
			if d != nil || held {
				r.server.Depart(d)
			}
		}
	}
}

// Stay undoes Depart: from now on connections stay.
func (x *Exchange) Stay() {
	x.op.Lock()
	defer x.op.Unlock()
	for _, servers := range x.begin(nil) {
		for _, r := range servers {
			r.server.Stay()
		}
	}
}

// Finish waits until all connections that can leave have left, or ctx ends.
func (x *Exchange) Finish(ctx context.Context) {
	x.mu.Lock()
	var all []*registration
	for _, servers := range x.servers {
		all = append(all, servers...)
	}
	x.mu.Unlock()
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() { r.server.Finish(ctx) })
	}
	wg.Wait()
}

// begin replaces the departure, and returns the servers as they are. Callers hold op.
func (x *Exchange) begin(departure func(Key) Departure) map[Key][]*registration {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.departure = departure
	servers := make(map[Key][]*registration, len(x.servers))
	for k, s := range x.servers {
		servers[k] = s
	}
	return servers
}

// Arrivals returns how many connections have arrived so far.
func (x *Exchange) Arrivals() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.arrivals
}

// Arrive gives c to a server of k. If there is none (any more), c is closed.
func (x *Exchange) Arrive(k Key, c net.Conn, p Position) {
	x.op.Lock()
	defer x.op.Unlock()
	x.mu.Lock()
	servers := x.servers[k]
	x.arrivals++
	turn := x.arrivals
	x.mu.Unlock()
	if len(servers) == 0 {
		_ = c.Close()
		return
	}
	servers[turn%len(servers)].server.Arrive(c, p)
}
