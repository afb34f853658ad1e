package handoff_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// TestGiveAtTheEnd: what Give has accepted arrives, also if drain is cut short right after it, or fails.
func TestGiveAtTheEnd(t *testing.T) {
	const n = 600
	for name, end := range map[string]func(context.Context) error{
		"drain's time is over":    func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"and it has not noticed":  func(ctx context.Context) error { <-ctx.Done(); return nil },
		"drain fails":             func(context.Context) error { return errUnwell },
		"drain is done with them": func(context.Context) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			path := rendezvous(t)
			c := config(t, path)
			c.DrainTimeout = 100 * time.Millisecond
			a, _ := first(t, c)
			_, servers := clients(t, n)
			ended := waiting(t, a, func(ctx context.Context) error {
				err := end(ctx)
				return errors.Join(giving(a, "chat", servers)(context.Background()), err)
			})
			b := join(t, config(t, path))
			took := taking(t, b, "chat")
			ready(t, b)
			if err := result(t, "the end of Wait", ended); err != nil && !errors.Is(err, errUnwell) {
				t.Fatal(err)
			}
			eventually(t, "all connections are there", func() bool { return took.count() == n })
			shut(t, b)
		})
	}
}

// TestGiveRacesEnd: what is given while the generation ends arrives, or Give says that it does not.
func TestGiveRacesEnd(t *testing.T) {
	const n = 200
	for round := range 5 {
		path := rendezvous(t)
		a, _ := first(t, config(t, path))
		_, servers := clients(t, n)
		ended := waiting(t, a, nil)
		b := join(t, config(t, path))
		took := taking(t, b, "chat")
		var mu sync.Mutex
		var accepted []string
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				superseded(t, a)
				for i := g; i < n; i += 4 {
					state := fmt.Sprint(i)
					switch err := a.Give(context.Background(), "chat", servers[i], []byte(state)); {
					case err == nil:
						mu.Lock()
						accepted = append(accepted, state)
						mu.Unlock()
					case !errors.Is(err, handoff.ErrNoSuccessor):
						t.Errorf("Give: %v", err)
					case a.Status().Phase == handoff.PhaseStopped && !errors.Is(err, net.ErrClosed):
						// It may have ended since Give has looked.
						if err := a.Give(context.Background(), "chat", servers[i], nil); !errors.Is(err, net.ErrClosed) {
							t.Errorf("Give after the end: %v", err)
						}
					}
				}
			})
		}
		ready(t, b)
		if round%2 == 0 {
			shut(t, a)
		}
		if err := result(t, "the end of Wait", ended); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		wg.Wait()
		eventually(t, "all that was accepted is there", func() bool { return took.count() == len(accepted) })
		shut(t, a)
		shut(t, b)
	}
}

// TestNobodyTakes: connections that the program does not take are told of.
func TestNobodyTakes(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	_, servers := clients(t, 3)
	ended := waiting(t, a, giving(a, "chat", servers))
	c := config(t, path)
	c.StepTimeout = 100 * time.Millisecond
	log := logs(t, &c)
	b := join(t, c)
	ready(t, b)
	if err := result(t, "the end of Wait", ended); err != nil {
		t.Fatal(err)
	}
	log.says(t, "connections that nobody takes")
	log.says(t, "name=chat connections=3")
	shut(t, b)
}
