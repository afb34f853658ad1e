package live

import (
	"context"
	"net"
	"slices"
	"testing"
)

// recorder is a server that remembers what it was told.
type recorder struct {
	name string
	told *[]string
}

func (r recorder) say(what string)               { *r.told = append(*r.told, r.name+" "+what) }
func (r recorder) Depart(Departure)              { r.say("departs") }
func (r recorder) Stay()                         { r.say("stays") }
func (r recorder) Finish(context.Context)        {}
func (r recorder) Arrive(c net.Conn, _ Position) { r.say("gets one"); _ = c.Close() }

func TestExchange(t *testing.T) {
	var x Exchange
	var told []string
	want := func(lines ...string) {
		t.Helper()
		slices.Sort(told)
		if !slices.Equal(told, lines) {
			t.Errorf("told %q, want %q", told, lines)
		}
		told = nil
	}
	a, b := Key{1, "http/1"}, Key{2, "http/1"}
	conn := func() net.Conn { c, _ := net.Pipe(); return c }
	unregister := x.Register(a, recorder{name: "a1", told: &told})
	x.Register(a, recorder{name: "a2", told: &told})
	x.Register(b, recorder{name: "b", told: &told})
	want()
	if keys := x.Keys(); len(keys) != 2 || !slices.Contains(keys, a) || !slices.Contains(keys, b) {
		t.Errorf("keys %v", keys)
	}

	x.Arrive(a, conn(), Position{})
	x.Arrive(a, conn(), Position{})
	want("a1 gets one", "a2 gets one")
	lost, other := net.Pipe()
	x.Arrive(Key{3, "http/1"}, lost, Position{})
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Error("a connection for nobody is not closed")
	}
	want()
	if n := x.Arrivals(); n != 3 {
		t.Errorf("%d arrivals, want 3", n)
	}

	d := &taking{}
	x.Depart(func(k Key) Departure {
		if k == a {
			return d
		}
		return nil
	})
	want("a1 departs", "a2 departs")
	x.Register(a, recorder{name: "a3", told: &told})
	want("a3 departs")
	x.Stay()
	want("a1 stays", "a2 stays", "a3 stays", "b stays")
	x.Register(a, recorder{name: "a4", told: &told})
	want()

	unregister()
	if keys := x.Keys(); len(keys) != 2 {
		t.Errorf("keys %v", keys)
	}
}
