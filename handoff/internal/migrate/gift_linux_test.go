package migrate

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
)

// TestGiveWhileDeciding: what is given at the instant of the switch waits until it is known whether there is a departure.
func TestGiveWhileDeciding(t *testing.T) {
	for name, departs := range map[string]bool{"it departs": true, "nothing departs": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				standing, changed := Deciding, make(chan struct{})
				c := New(slog.New(slog.DiscardHandler), Config{
					Context:  context.Background(),
					Standing: func() (Standing, <-chan struct{}) { return standing, changed },
				})
				given := make(chan error, 1)
				go func() { given <- c.give(&gift{kept: &c.gifts, name: "a"}) }()
				synctest.Wait()
				select {
				case err := <-given:
					t.Fatalf("give has not waited: %v", err)
				default:
				}
				if departs {
					c.departure = c.newDeparture(nil, 10)
				}
				standing = Draining
				close(changed)
				err := <-given
				if departs && (err != nil || c.departure.queued != 1) || !departs && !errors.Is(err, ErrNoSuccessor) {
					t.Errorf("give: %v", err)
				}
			})
		})
	}
}

// TestMayReceive: connections are refused when nobody here would serve them, and they cannot be passed on.
func TestMayReceive(t *testing.T) {
	var standing Standing
	c := New(slog.New(slog.DiscardHandler), Config{Standing: func() (Standing, <-chan struct{}) { return standing, nil }})
	check := func(open bool, may ...Standing) {
		t.Helper()
		for standing = Serving; standing <= Over; standing++ {
			want := slices.Contains(may, standing)
			if err := c.mayReceive(); (err == nil) != want {
				t.Errorf("standing %d, departure %t: %v", standing, open, err)
			}
		}
	}
	check(false, Serving, Deciding)
	c.departure = c.newDeparture(nil, 10)
	check(true, Serving, Deciding, Draining)
}
