package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ChatOptions say who chats where. Address and Users are needed.
type ChatOptions struct {
	Network string // as net.Dial takes it; "" is tcp
	Address string
	Users   int

	// Pace is what a user waits between two writes, from nothing to twice of it; 0 is 10 ms. A write is some lines, or a
	// part of one.
	Pace time.Duration

	// Timeout bounds connecting with login, each write, and how long the last lines may be under way; 0 is 10 s.
	Timeout time.Duration

	Seed   uint64  // determines what is random, and is part of the users' names
	Dialer *Dialer // makes the connections; nil is a new one
}

// ChatCounts are numbers of things that happened.
type ChatCounts struct {
	Sent       int // lines that were said, by all users
	Received   int // lines that arrived, each at each user
	Lost       int // that did not, although both the speaker and the listener stayed connected
	Doubled    int // that arrived once more
	Wrong      int // that arrived and had not been said
	Dropped    int // connections of users who were logged in that ended
	Refused    int // logins that failed
	Reconnects int // logins of users whose connection had ended
	Excused    int // of Dropped and Refused, and no longer counted there: see Chat.Excuse
	Moves      int // notices that another process serves
}

// Chat is a number of users of a chat like examples/chat, who say numbered lines all the time, cut into pieces at random,
// and watch that each line of each user arrives at each user once, in the speaker's order. They stay connected; a user whose
// connection ends nevertheless comes back under another name.
//
// The protocol: the first line that a client sends is NICK and a name, the others are what he says. The server sends
// "* name is here" to all, him too, and then to each of them all that is said, as "name: what". Other lines that begin with
// an asterisk are notices; "serves you now" in one is counted as a move.
//
// Its methods may be called by many goroutines at once.
type Chat struct {
	o      ChatOptions
	cancel context.CancelFunc
	begun  time.Time

	speaking  sync.WaitGroup // users who may say something yet
	listening sync.WaitGroup // users
	silent    chan struct{}  // closed when nobody speaks any more
	slowest   atomic.Int64   // time.Duration

	mu       sync.Mutex
	counts   ChatCounts
	failures []Failure
	pardoned []Failure
	served   []Served
	said     map[string]int // lines said so far, by the name of each user who is there
}

// StartChat lets the users chat in the background, until ctx ends; Wait must be called.
func StartChat(ctx context.Context, o ChatOptions) (*Chat, error) {
	switch {
	case o.Address == "":
		return nil, fmt.Errorf("%w: no Address", errOptions)
	case o.Users <= 0:
		return nil, fmt.Errorf("%w: %d Users", errOptions, o.Users)
	case o.Pace < 0 || o.Timeout < 0:
		return nil, fmt.Errorf("%w: a duration is negative", errOptions)
	}
	if o.Network == "" {
		o.Network = "tcp"
	}
	if o.Pace == 0 {
		o.Pace = 10 * time.Millisecond
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Dialer == nil {
		o.Dialer = new(Dialer)
	}
	c := &Chat{o: o, begun: time.Now(), silent: make(chan struct{}), said: make(map[string]int)}
	ctx, c.cancel = context.WithCancel(ctx)
	c.speaking.Add(o.Users)
	for n := range o.Users {
		u := &chatter{c: c, n: n, rand: rand.New(rand.NewPCG(o.Seed, uint64(n)))}
		c.listening.Go(func() { u.run(ctx) })
	}
	return c, nil
}

// Stop ends the chat as the end of the context does. It does not wait.
func (c *Chat) Stop() { c.cancel() }

// Wait returns when the chat has ended, by the context or Stop: when all that was said has arrived, or ChatOptions.Timeout
// is over, and every connection is closed.
func (c *Chat) Wait() *ChatResult {
	c.speaking.Wait()
	c.mu.Lock()
	select {
	case <-c.silent:
	default:
		close(c.silent)
	}
	c.mu.Unlock()
	c.listening.Wait()
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	return &ChatResult{
		Begun: c.begun, Ended: time.Now(), Seed: c.o.Seed, ChatCounts: c.counts, Slowest: time.Duration(c.slowest.Load()),
		Served: slices.Clone(c.served), Failures: slices.Clone(c.failures), Pardoned: slices.Clone(c.pardoned),
	}
}

// Counts returns what was counted until now.
func (c *Chat) Counts() ChatCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// Present returns how many users are logged in.
func (c *Chat) Present() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.said)
}

// Excuse takes the ends and the failed logins for which match is true out of the count. It is for what a test itself
// destroyed. It returns how many they were. match must not call methods of c.
func (c *Chat) Excuse(match func(Failure) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	c.failures = slices.DeleteFunc(c.failures, func(f Failure) bool {
		if f.Op == "check" || !match(f) {
			return false
		}
		n++
		if f.Op == opLogin {
			c.counts.Refused--
		} else {
			c.counts.Dropped--
		}
		c.pardoned = append(c.pardoned, f)
		return true
	})
	c.counts.Excused += n
	return n
}

// fail counts a failure by f, and keeps it.
func (c *Chat) fail(f Failure, count func(*ChatCounts)) {
	f.Kind, f.At = ChatUser, time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	count(&c.counts)
	if len(c.failures) < maxFailures {
		c.failures = append(c.failures, f)
	}
}

// Served is a notice to a user: from then on this process serves him.
type Served struct {
	User int // from 0
	PID  int
	At   time.Time
}

// ChatResult is what a chat counted.
type ChatResult struct {
	Begun, Ended time.Time
	Seed         uint64
	ChatCounts
	Slowest  time.Duration // that a line needed from its speaker back to him
	Served   []Served      // who served whom, in the order of the notices
	Failures []Failure     // the first 10,000 of Lost, Doubled, Wrong, Dropped and Refused
	Pardoned []Failure     // those that Excuse took out of Failures
}

// Err returns nil if no line was lost, doubled or wrong, no connection ended, no login failed, and something was said;
// else an error that says how much, and wraps the first few failures.
func (r *ChatResult) Err() error {
	if r.Lost+r.Doubled+r.Wrong+r.Dropped+r.Refused == 0 {
		if r.Received == 0 {
			return errors.New("load: nothing was said")
		}
		return nil
	}
	err := fmt.Errorf("load: of %d lines %d were lost, %d doubled, %d wrong; %d connections ended, %d logins failed (seed %d)",
		r.Received, r.Lost, r.Doubled, r.Wrong, r.Dropped, r.Refused, r.Seed)
	for i, f := range r.Failures {
		if i == 5 {
			return fmt.Errorf("%w\nand so on", err)
		}
		err = fmt.Errorf("%w\n%s %w", err, clock(f.At.Sub(r.Begun)), f)
	}
	return err
}
