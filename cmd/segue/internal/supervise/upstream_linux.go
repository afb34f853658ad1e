package supervise

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// upstream is who has started this process, such as systemd (sd_notify(3)). The zero value: nobody who listens.
type upstream struct {
	feed <-chan time.Time // when to feed the watchdog; nil if there is none
	tick *time.Ticker
	out  *outbox // of messages; nil: nobody
}

func newUpstream(log *slog.Logger) upstream {
	path := os.Getenv("NOTIFY_SOCKET")
	u := upstream{}
	if path != "" {
		u.out = newOutbox(func(b []byte, _ int64) int64 { send(path, b, log); return 0 })
	}
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 63)
	pid, set := os.LookupEnv("WATCHDOG_PID")
	if path == "" || err != nil || usec <= 0 || set && pid != strconv.Itoa(os.Getpid()) {
		return u
	}
	usec = min(usec, int64(24*time.Hour/time.Microsecond))
	u.tick = time.NewTicker(max(time.Duration(usec)*time.Microsecond/3, time.Millisecond))
	u.feed = u.tick.C
	return u
}

func (u *upstream) close() {
	if u.tick != nil {
		u.tick.Stop()
	}
	if u.out != nil {
		u.out.close(2 * sayTimeout)
	}
}

// say has one message sent.
func (u *upstream) say(lines string) {
	if u.out != nil {
		_, _ = u.out.Write([]byte(lines))
	}
}

// send sends one message. It does not wait long for who does not read, since others may follow that say more.
func send(path string, lines []byte, log *slog.Logger) {
	conn, err := net.Dial("unixgram", path) // package net knows the abstract ones, which begin with @
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(sayTimeout))
		if err == nil {
			_, err = conn.Write(lines)
		}
		_ = conn.Close()
	}
	if err != nil {
		log.Warn("who has started this process was not told what it does", "NOTIFY_SOCKET", path, "message", string(lines), "error", err)
	}
}

const sayTimeout = time.Second

// tell says what has changed: to who has started this process, and by the ready file.
func (r *runner) tell() {
	now := r.m.standing()
	was := r.told
	if now == was {
		return
	}
	r.told = now
	r.readyFile(now.serves)
	status := "STATUS=" + now.text
	switch {
	case now.stops && !was.stops:
		r.up.say("STOPPING=1\n" + status)
	case now.stops, !now.serves: // nobody to be ready; an attempt that has begun ends when somebody serves
		r.up.say(status)
	case now.replaces && !was.replaces:
		r.up.say(reloading() + "\n" + status)
	case !now.replaces && (was.replaces || !was.serves): // also after a time in which nobody served, which may have begun in an attempt
		r.up.say("READY=1\n" + status)
	default:
		r.up.say(status)
	}
}

// tellRefused begins an attempt and ends it, since systemd waits for both with Type=notify-reload.
func (r *runner) tellRefused() {
	r.up.say(reloading())
	r.up.say("READY=1")
}

// reloading has the time by which systemd knows that this was said after it asked.
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

// readyFile is there while a process of COMMAND serves.
func (r *runner) readyFile(serves bool) {
	if r.o.ReadyFile == "" || r.fileMade == serves {
		return
	}
	r.fileMade = serves
	if !serves {
		_ = os.Remove(r.o.ReadyFile)
		return
	}
	if err := os.WriteFile(r.o.ReadyFile, nil, 0o644); err != nil {
		r.o.Log.Error("the ready file was not made", "error", err)
	}
}
