package serve

import (
	"slices"
	"testing"
)

func TestLine(t *testing.T) {
	var l line
	var want []*tracked
	check := func(what string) {
		t.Helper()
		if !slices.Equal(l.all(), want) {
			t.Fatalf("%s: %d connections, or another order; want %d", what, len(l.all()), len(want))
		}
	}
	add := func() {
		c := new(tracked)
		l.add(c)
		want = append(want, c)
	}
	remove := func(i int) *tracked {
		c := want[i]
		l.remove(c)
		want = slices.Delete(want, i, i+1)
		return c
	}
	check("empty")
	for range 10 {
		add()
	}
	check("ten")
	gone := remove(3)
	l.remove(gone)
	check("removed twice")
	for len(want) > 1 {
		remove(len(want) / 2)
	}
	check("one left")
	add() // closes the holes
	check("another")
	l.remove(gone) // its place is another's, or beyond the end
	l.remove(new(tracked))
	check("removed what is not there")
	if len(l.conns) != 2 {
		t.Errorf("the line has %d places for 2 connections", len(l.conns))
	}
	remove(0)
	remove(0)
	check("empty again")
	for range 1000 { // one comes, one goes
		add()
		if len(want) > 5 {
			remove(0)
		}
	}
	check("churn")
	if len(l.conns) > 20 {
		t.Errorf("the line has %d places for 5 connections", len(l.conns))
	}
}
