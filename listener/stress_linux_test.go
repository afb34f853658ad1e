package listener

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStress pauses, parks, arms and opens a listener under clients that come all the time, and counts: every
// connection that was dialed is accepted exactly once.
func TestStress(t *testing.T) {
	const acceptors, clients, perClient = 4, 4, 250
	for name, at := range where(t) {
		t.Run(name, func(t *testing.T) {
			l := listen(t, at[0], at[1], Options{})
			addr := l.Addr()
			var served [clients * perClient]atomic.Int32

			var accepting sync.WaitGroup
			for range acceptors {
				accepting.Go(func() {
					for {
						c, err := l.Accept()
						if err != nil {
							if !errors.Is(err, net.ErrClosed) {
								t.Errorf("Accept: %v", err)
							}
							return
						}
						serve(t, c, served[:])
					}
				})
			}

			before, err := Describe(l)
			must(t, err)
			kicks := make(chan struct{}, 2)
			var switching sync.WaitGroup
			for range 2 {
				switching.Go(func() {
					for range kicks {
						for range rand.IntN(5) {
							if err := switchOnce(l); err != nil {
								t.Error(err)
							}
							// A handoff looks at the socket wherever it is at the moment.
							if now, err := Describe(l); err != nil || now != before {
								t.Errorf("it has become %+v, was %+v; %v", now, before, err)
							}
						}
						if err := l.Open(); err != nil { // or the clients would wait, and kick no more
							t.Error(err)
						}
					}
				})
			}

			var dialing sync.WaitGroup
			for i := range clients {
				dialing.Go(func() {
					for j := range perClient {
						select {
						case kicks <- struct{}{}:
						default:
						}
						if err := visit(addr, uint32(i*perClient+j)); err != nil {
							t.Errorf("client %d, visit %d: %v", i, j, err)
							return
						}
					}
				})
			}
			dialing.Wait()
			close(kicks)
			switching.Wait()
			must(t, l.Pause())
			if c, err := l.Queued(); !errors.Is(err, ErrEmpty) {
				t.Errorf("somebody is left over: %v, %v", c, err)
			}
			must(t, l.Close())
			accepting.Wait()
			for id := range served {
				if n := served[id].Load(); n != 1 {
					t.Errorf("connection %d was accepted %d times", id, n)
				}
			}
		})
	}
}

func switchOnce(l *Listener) error {
	switch rand.IntN(5) {
	case 0:
		return l.Pause()
	case 1:
		return l.Park()
	case 2:
		return l.Arm()
	case 3:
		return l.Open()
	default:
		return l.SetDeadline(time.Now().Add(time.Hour))
	}
}

// visit dials, says who it is, and waits for the echo.
func visit(addr net.Addr, id uint32) error {
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], id)
	if _, err := c.Write(b[:]); err != nil {
		return err
	}
	var echo [4]byte
	if _, err := io.ReadFull(c, echo[:]); err != nil {
		return err
	}
	if echo != b {
		return errors.New("somebody else's echo")
	}
	return nil
}

func serve(t *testing.T, c net.Conn, served []atomic.Int32) {
	defer c.Close()
	var b [4]byte
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Errorf("serve: %v", err)
		return
	}
	served[binary.BigEndian.Uint32(b[:])].Add(1)
	if _, err := c.Write(b[:]); err != nil {
		t.Errorf("serve: %v", err)
	}
}

// TestPauseUnderLoad pauses once while clients pour in. What the calls in flight got is returned by them; all who come
// after Pause returned are in the queue; nobody is lost.
func TestPauseUnderLoad(t *testing.T) {
	const acceptors, early, late = 8, 200, 50
	for round := range 10 {
		l := listen(t, "unix", socketDir(t)+"/s", Options{}) // connect(2) returns when the connection is in the queue
		must(t, l.Open())
		type arrival struct {
			id     string
			queued bool
			err    error
		}
		arrivals := make(chan arrival, early+late)
		take := func(c net.Conn, queued bool) {
			b := make([]byte, 1)
			err := c.SetReadDeadline(time.Now().Add(patience))
			_, readErr := io.ReadFull(c, b)
			arrivals <- arrival{string(b), queued, errors.Join(err, readErr, c.Close())}
		}
		var accepting, dialing sync.WaitGroup
		for range acceptors {
			accepting.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					take(c, false)
				}
			})
		}
		knock := func(id string) {
			c, err := net.Dial("unix", l.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			_, err = c.Write([]byte(id))
			if err := errors.Join(err, c.Close()); err != nil {
				t.Error(err)
			}
		}
		started := make(chan struct{}, early)
		for range 4 {
			dialing.Go(func() {
				for range early / 4 {
					knock("e")
					started <- struct{}{}
				}
			})
		}
		for range 5 + 10*round {
			within(t, "clients", started)
		}
		must(t, l.Pause())
		for range late {
			knock("l")
		}
		dialing.Wait()
		for {
			c, err := l.Queued()
			if errors.Is(err, ErrEmpty) {
				break
			}
			must(t, err)
			take(c, true)
		}
		must(t, l.Close())
		accepting.Wait()
		close(arrivals)
		count := map[arrival]int{}
		for a := range arrivals {
			must(t, a.err)
			count[a]++
		}
		accepted, queued := count[arrival{id: "e"}], count[arrival{id: "e", queued: true}]
		if accepted+queued != early {
			t.Errorf("of %d who came early, Accept got %d, and the queue held %d", early, accepted, queued)
		}
		if n := count[arrival{id: "l", queued: true}]; n != late || len(count) > 3 || count[arrival{id: "l"}] != 0 {
			t.Errorf("of %d who came after the pause, the queue held %d: %v", late, n, count)
		}
	}
}
