package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	maxLine = 1000    // bytes
	maxOut  = 8 << 10 // bytes taken from the log for one write; with the rest of a position it must fit into Give's state
	maxLog  = 10_000  // lines; a user who is further behind is too slow, and is dropped
)

// room is all connections, and what was said.
type room struct {
	mu      sync.Mutex
	changed *sync.Cond // on mu: something below is different
	users   map[*user]struct{}
	serving int      // how many of them have goroutines
	holds   int      // while there are any, nobody is served
	first   int      // the number of the first line in lines
	lines   []string // the log

	came chan struct{} // has an element if somebody joined during a hold
}

// user is a connection. Not everyone is logged in.
type user struct {
	conn net.Conn
	position
	serving bool // has goroutines
	stop    bool // its writer is to end
}

// position is where a user stands. It is what Give hands over with a connection.
type position struct {
	Name string // empty: not logged in
	In   []byte // an unfinished line that was read
	Out  []byte // to be sent before the log
	Next int    // the number of the first line of the log that is not in Out
}

func newRoom() *room {
	r := &room{users: make(map[*user]struct{}), came: make(chan struct{}, 1)}
	r.changed = sync.NewCond(&r.mu)
	return r
}

// notice tells u something that nobody else hears. Callers hold the room's mu, if u has joined.
func (u *user) notice(format string, args ...any) {
	u.Out = fmt.Appendf(u.Out, "* "+format+"\n", args...)
}

// join takes u, who is served from now on, or from the end of the hold.
func (r *room) join(u *user) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[u] = struct{}{}
	u.Next = min(u.Next, r.end()) // if the log did not move: the predecessor was one without
	r.start(u)
	if r.holds > 0 {
		select {
		case r.came <- struct{}{}:
		default:
		}
	}
}

// start serves u unless there is a hold. Callers hold mu.
func (r *room) start(u *user) {
	if r.holds == 0 && !u.serving {
		u.serving = true
		r.serving++
		go r.serve(u)
	}
}

// serve reads and writes until u leaves, or a hold stops both.
func (r *room) serve(u *user) {
	for again := true; again; {
		var writing sync.WaitGroup
		writing.Go(func() { r.write(u) })
		err := r.read(u)
		r.mu.Lock()
		u.stop = true
		r.changed.Broadcast()
		r.mu.Unlock()
		_ = u.conn.SetWriteDeadline(time.Unix(1, 0)) // one that is closed needs no waking
		writing.Wait()
		again = r.pause(u, err)
	}
}

// pause decides how it goes on after err ended the reading, and reports whether u is to be served again at once.
func (r *room) pause(u *user, err error) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u.stop = false
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		delete(r.users, u)
		_ = u.conn.Close()
		if u.Name != "" {
			r.log("* %s has left", u.Name)
		}
	case r.holds == 0: // it is over already
		_ = u.conn.SetDeadline(time.Time{})
		return true
	}
	u.serving = false
	r.serving--
	r.changed.Broadcast()
	return false
}

// read handles the lines that u sends. It returns os.ErrDeadlineExceeded, and nothing but a part of a line is in u.In, if
// somebody has set a deadline; else u has left, or has to.
func (r *room) read(u *user) error {
	b := make([]byte, 4<<10)
	for {
		for {
			line, rest, whole := bytes.Cut(u.In, []byte("\n"))
			if len(line) > maxLine {
				return errors.New("the line is too long")
			}
			if !whole {
				break
			}
			u.In = rest
			if err := r.handle(u, strings.TrimSuffix(string(line), "\r")); err != nil {
				return err
			}
		}
		n, err := u.conn.Read(b)
		u.In = append(u.In, b[:n]...)
		if n == 0 && err != nil {
			return err
		}
	}
}

// handle acts on a line that u sent.
func (r *room) handle(u *user, line string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, nick := strings.CutPrefix(line, "NICK ")
	switch {
	case nick && name == "" || strings.ContainsAny(name, " :*") && nick:
		u.notice("a name is not empty, and has no space, colon or asterisk")
	case nick && u.Name == "":
		u.Name, u.Next = name, r.end()
		r.log("* %s is here", name)
	case nick:
		r.log("* %s is now %s", u.Name, name)
		u.Name = name
	case u.Name == "":
		u.notice("log in with NICK and your name")
	default:
		r.log("%s: %s", u.Name, line)
	}
	r.changed.Broadcast()
	if len(u.Out) > 2*maxOut {
		return errors.New("does not read what it is told")
	}
	return nil
}

// log says a line to all. Callers hold mu.
func (r *room) log(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format+"\n", args...))
	if len(r.lines) > maxLog {
		r.lines = r.lines[1:]
		r.first++
	}
	r.changed.Broadcast()
}

// end is the number of the line that will be said next. Callers hold mu.
func (r *room) end() int { return r.first + len(r.lines) }

// write sends what there is for u, until it is told to stop.
func (r *room) write(u *user) {
	for {
		out := r.next(u)
		if out == nil {
			return
		}
		n, err := u.conn.Write(out)
		r.mu.Lock()
		u.Out = u.Out[n:] // some more of it may be there by now
		r.mu.Unlock()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = u.conn.Close() // ends the reading too
		}
		if err != nil {
			return
		}
	}
}

// next waits for something to send to u. It is nil if u's writer is to end.
func (r *room) next(u *user) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !u.stop {
		if u.Name != "" && u.Next < r.first {
			_ = u.conn.Close() // too slow
			return nil
		}
		for u.Name != "" && u.Next < r.end() && len(u.Out) < maxOut {
			u.Out = append(u.Out, r.lines[u.Next-r.first]...)
			u.Next++
		}
		if len(u.Out) > 0 {
			return u.Out
		}
		r.changed.Wait()
	}
	return nil
}
