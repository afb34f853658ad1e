package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ChatUser is the kind of a [Failure] of a [Chat]. It is none of Options.
const ChatUser Kind = -1

// What a user of a chat finds.
var (
	ErrLost    = errors.New("a line was lost")
	ErrDoubled = errors.New("a line came twice")
)

// chatter is one user of a chat.
type chatter struct {
	c        *Chat
	n        int
	rand     *rand.Rand
	sessions int  // so far
	ended    bool // one of them ended, and none was begun since
}

// opLogin is what a user does until he is one of the chat.
const opLogin = "login"

// stay is the time for which a chatter is connected.
type stay struct {
	c      *Chat
	user   int
	name   string
	conn   net.Conn
	dialed time.Time
	before map[string]int // what the others had said when this one came, at least
	joined chan struct{}  // closed when it has
	ended  chan struct{}  // closed when nothing comes any more
	err    error          // why; only once it has ended

	mu       sync.Mutex
	next     map[string]int // the number of the next line of each speaker; one who is missing has not said anything yet
	sent     map[int]time.Time
	received int
	pid      int
}

func (u *chatter) run(ctx context.Context) {
	var s *stay
	for ctx.Err() == nil && s == nil {
		var err error
		if s, err = u.login(); err == nil {
			if u.ended {
				u.c.count(func(c *ChatCounts) { c.Reconnects++ })
				u.ended = false
			}
			if err = u.speak(ctx, s); err == nil {
				break
			}
		}
		u.lost(s, err)
		if s != nil {
			s.leave()
			s = nil
		}
		_ = u.pause(ctx, nil) // the loop sees the end of ctx
	}
	u.c.speaking.Done()
	<-u.c.silent
	if s == nil {
		return
	}
	if err := s.finish(); err != nil {
		u.lost(s, err)
	}
	s.leave()
}

// lost counts a connection that ended, or a login that failed.
func (u *chatter) lost(s *stay, err error) {
	switch {
	case s == nil:
		f := Failure{Worker: u.n, Op: opLogin, Err: err, Started: time.Now()}
		u.c.fail(f, func(c *ChatCounts) { c.Refused++ })
	case s.present():
		u.ended = true
		u.c.fail(s.failure("receive", err), func(c *ChatCounts) { c.Dropped++ })
	default:
		u.c.fail(s.failure(opLogin, err), func(c *ChatCounts) { c.Refused++ })
	}
}

// present reports whether the user has become one of the chat.
func (s *stay) present() bool {
	select {
	case <-s.joined:
		return true
	default:
		return false
	}
}

// login connects, and returns when the user is one of the chat.
func (u *chatter) login() (*stay, error) {
	c := u.c
	deadline := time.Now().Add(c.o.Timeout)
	// Not the context of the chat: its end lets what was begun finish.
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	s := &stay{
		c: c, user: u.n, name: fmt.Sprintf("u%d.%d.%d", c.o.Seed, u.n, u.sessions), dialed: time.Now(),
		joined: make(chan struct{}), ended: make(chan struct{}), next: map[string]int{}, sent: map[int]time.Time{},
	}
	u.sessions++
	var err error
	if s.conn, err = c.o.Dialer.DialContext(ctx, c.o.Network, c.o.Address); err != nil {
		return nil, err
	}
	go s.listen()
	if err := s.write([]byte("NICK " + s.name + "\n")); err != nil {
		return s, err
	}
	select {
	case <-s.joined:
		c.mu.Lock()
		defer c.mu.Unlock()
		s.before = maps.Clone(c.said)
		c.said[s.name] = 0
		return s, nil
	case <-s.ended:
		return s, s.err
	case <-ctx.Done():
		return s, fmt.Errorf("login: %w", context.Cause(ctx))
	}
}

// leave closes the connection.
func (s *stay) leave() {
	s.c.mu.Lock()
	delete(s.c.said, s.name)
	s.c.mu.Unlock()
	_ = s.conn.Close() // all that mattered was read
	<-s.ended
}

// text is what a user says as line n.
func text(n int) string {
	return fmt.Sprintf("%d %s", n, strings.Repeat(string(rune('a'+n%26)), n*7%60))
}

// speak says lines until ctx ends. The error is that of the connection.
func (u *chatter) speak(ctx context.Context, s *stay) error {
	for n := 1; ctx.Err() == nil; {
		var b []byte
		first := n
		for range 1 + u.rand.IntN(3) {
			b = append(b, text(n)+"\n"...)
			n++
		}
		u.c.mu.Lock()
		u.c.said[s.name] = n - 1
		u.c.counts.Sent += n - first
		u.c.mu.Unlock()
		for len(b) > 0 {
			piece := b[:1+u.rand.IntN(len(b))]
			if len(piece) == len(b) {
				s.mark(first, n)
			}
			if err := s.write(piece); err != nil {
				return err
			}
			if err := u.pause(ctx, s); err != nil {
				return err
			}
			b = b[len(piece):]
		}
	}
	return nil
}

// pause waits for about the pace, until ctx ends, or until nothing comes any more.
func (u *chatter) pause(ctx context.Context, s *stay) error {
	var ended chan struct{}
	if s != nil {
		ended = s.ended
	}
	t := time.NewTimer(time.Duration(u.rand.Int64N(2 * int64(u.c.o.Pace))))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-ended:
		return s.err
	}
	return nil
}

func (s *stay) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.c.o.Timeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// mark remembers when the lines from first up to end were sent, if they have not come back already.
func (s *stay) mark(first, end int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := max(first, s.next[s.name]); n < end; n++ {
		s.sent[n] = time.Now()
	}
}

// finish waits until all that was said has come. The error is that of the connection; what is missing then is counted.
func (s *stay) finish() error {
	t := time.NewTimer(s.c.o.Timeout)
	defer t.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		missing := s.missing()
		if missing == nil {
			return nil
		}
		select {
		case <-poll.C:
		case <-s.ended:
			return s.err
		case <-t.C:
			for who, n := range missing {
				f := s.failure("check", fmt.Errorf("%w: the last %d of %s", ErrLost, n, who))
				s.c.fail(f, func(c *ChatCounts) { c.Lost += n })
			}
			return nil
		}
	}
}

// missing returns how many lines have not come of each speaker who is still there.
func (s *stay) missing() map[string]int {
	s.c.mu.Lock()
	said := maps.Clone(s.c.said)
	s.c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing map[string]int
	for who, n := range said {
		next, heard := s.next[who]
		if !heard {
			next = s.before[who] + 1
		}
		if next <= n {
			if missing == nil {
				missing = map[string]int{}
			}
			missing[who] = n + 1 - next
		}
	}
	return missing
}

// listen reads until the connection ends.
func (s *stay) listen() {
	defer close(s.ended)
	r := bufio.NewReader(s.conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			s.err = err
			return
		}
		s.hear(strings.TrimSuffix(line, "\n"))
	}
}

// hear checks a line.
func (s *stay) hear(line string) {
	if notice, ok := strings.CutPrefix(line, "* "); ok {
		s.notice(notice)
		return
	}
	who, what, _ := strings.Cut(line, ": ")
	if !strings.HasPrefix(who, fmt.Sprintf("u%d.", s.c.o.Seed)) {
		return // somebody else
	}
	digits, _, _ := strings.Cut(what, " ")
	n, err := strconv.Atoi(digits)
	if err != nil || what != text(n) {
		s.c.fail(s.failure("check", fmt.Errorf("%w: %.80q", ErrForeign, line)), func(c *ChatCounts) { c.Wrong++ })
		return
	}
	s.mu.Lock()
	next, heard := s.next[who]
	if !heard {
		next = n
	}
	s.next[who] = max(next, n+1)
	s.received++
	if at, ok := s.sent[n]; ok && who == s.name {
		s.c.slow(time.Since(at))
		delete(s.sent, n)
	}
	s.mu.Unlock()
	switch {
	case n < next:
		f := s.failure("check", fmt.Errorf("%w: %d of %s, after %d", ErrDoubled, n, who, next-1))
		s.c.fail(f, func(c *ChatCounts) { c.Doubled++ })
	case n > next:
		f := s.failure("check", fmt.Errorf("%w: %d of %s, after %d", ErrLost, n, who, next-1))
		s.c.fail(f, func(c *ChatCounts) { c.Lost += n - next })
	}
	s.c.count(func(c *ChatCounts) { c.Received++ })
}

// notice acts on what the server says.
func (s *stay) notice(notice string) {
	if who, ok := strings.CutSuffix(notice, " is here"); ok {
		s.mu.Lock()
		_, again := s.next[who]
		s.next[who] = max(s.next[who], 1)
		s.mu.Unlock()
		switch {
		case again:
			f := s.failure("check", fmt.Errorf("%w: %s is here", ErrDoubled, who))
			s.c.fail(f, func(c *ChatCounts) { c.Doubled++ })
		case who == s.name:
			close(s.joined)
		}
	}
	var pid int
	if _, err := fmt.Sscanf(notice, "process %d serves you", &pid); err == nil {
		s.mu.Lock()
		s.pid = pid
		s.mu.Unlock()
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		s.c.served = append(s.c.served, Served{s.user, pid, time.Now()})
		if strings.HasSuffix(notice, "serves you now") {
			s.c.counts.Moves++
		}
	}
}

func (s *stay) failure(op string, err error) Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Failure{
		Worker: s.user, Op: op, Err: err, Started: s.dialed, Dialed: s.dialed, Local: s.conn.LocalAddr().String(),
		Answered: s.received, PID: s.pid,
	}
}

func (c *Chat) count(f func(*ChatCounts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.counts)
}

// slow notes how long a line was under way.
func (c *Chat) slow(d time.Duration) {
	for {
		was := c.slowest.Load()
		if int64(d) <= was || c.slowest.CompareAndSwap(was, int64(d)) {
			return
		}
	}
}
