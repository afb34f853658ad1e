package systemd

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/internal/startenv"
	"github.com/segue-go/segue/listener"
)

// TestStaleEnvironment: variables of an ancestor are removed, and nothing is taken.
func TestStaleEnvironment(t *testing.T) {
	t.Setenv("LISTEN_FDS", "3")
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getppid()))
	t.Setenv("LISTEN_FDNAMES", "a:b:c")
	t.Setenv("LISTEN_PIDFDID", "12")
	got, err := readEnvironment(slog.New(slog.DiscardHandler))
	if got != nil || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for _, name := range startenv.ListenVariables() {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%q is handed on", name, v)
		}
	}
}

// TestMissingDescriptors: LISTEN_FDS that says more than there is names what is not open, and harms nothing that is.
func TestMissingDescriptors(t *testing.T) {
	t.Setenv("LISTEN_FDS", "400")
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	before := open()
	var h inheritance
	err := h.use(slog.New(slog.DiscardHandler), func(l *slog.Logger) ([]*given, error) {
		all, err := readEnvironment(l)
		for _, d := range all {
			if d.fd != nil {
				d.fd.Disown() // whosever they are
			}
		}
		return nil, err
	})
	if !errors.Is(err, ErrSockets) || !errors.Is(err, syscall.EBADF) || !strings.Contains(err.Error(), `descriptor 402 ("unknown") is not open`) {
		t.Errorf("the error is %v", err)
	}
	if now := open(); !slices.Equal(before, now) {
		t.Errorf("open were %q, are %q", before, now)
	}
}

func open() (all []string) {
	for n := range 500 {
		if to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(n)); err == nil && !strings.HasPrefix(to, "/proc") {
			all = append(all, strconv.Itoa(n)+" "+to)
		}
	}
	return all
}

// TestDrop: a supervisor gives each process the sockets; a successor has them from its predecessor already, and keeps no copy.
func TestDrop(t *testing.T) {
	ln := conn[*net.TCPListener](t)(net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))
	other := conn[*net.TCPListener](t)(net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))
	s := start(t, Options{}, pass(t, "web", ln), pass(t, "other", other))
	s.opened(hook.Socket{Name: "web", Conn: ln})
	if free := s.got.free; len(free) != 1 || free[0].fdName != "other" {
		t.Errorf("left: %v", free)
	}
}

// pass gives a copy of what f is to an inheritance, as systemd would.
func pass(t *testing.T, fdName string, c syscall.Conn) *given {
	t.Helper()
	fd, err := listener.Dup(c)
	if err != nil {
		t.Fatal(err)
	}
	d := &given{number: fd.Disown(), fdName: fdName}
	d.describe()
	if d.fd == nil {
		t.Cleanup(func() { _ = unix.Close(d.number) })
	}
	return d
}

func conn[T any](t *testing.T) func(c T, err error) syscall.Conn {
	return func(c T, err error) syscall.Conn {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = any(c).(interface{ Close() error }).Close() })
		return any(c).(syscall.Conn)
	}
}

// TestTake: a socket is found by name or address, once; what cannot be used is an error that names it.
func TestTake(t *testing.T) {
	tcp := conn[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	address := tcp.(net.Listener).Addr().String()
	_, port, _ := net.SplitHostPort(address)
	everywhere := conn[net.Listener](t)(net.Listen("tcp", ":0"))
	_, wide, _ := net.SplitHostPort(everywhere.(net.Listener).Addr().String())
	udp := conn[net.PacketConn](t)(net.ListenPacket("udp", "127.0.0.1:0"))
	udpAddress := udp.(net.PacketConn).LocalAddr().String()
	client := conn[net.Conn](t)(net.Dial("tcp", address))
	null := conn[*os.File](t)(os.Open(os.DevNull))
	path := filepath.Join(shortDir(t), "s")
	local := conn[net.Listener](t)(net.Listen("unix", path))
	all := []*given{
		pass(t, "web", tcp), pass(t, "app.socket", everywhere), pass(t, "dns", udp), pass(t, "conn", client), pass(t, "null", null),
		pass(t, escape("unix/"+path), local),
	}
	if all[5].path == nil || !all[5].stored || all[5].name != "unix/"+path {
		t.Errorf("the stored Unix socket: %+v", all[5])
	}
	for _, tt := range []struct {
		name, network, address string
		want                   *given
		err                    string
	}{
		{"web", "tcp", "127.0.0.1:1", all[0], ""}, // the unit has the last word
		{"web", "tcp", address, all[0], ""},
		{"other", "tcp", address, all[0], ""},
		{"other", "tcp4", address, all[0], ""},
		{"other", "tcp6", address, nil, "no suitable address"},
		{"other", "tcp", "0.0.0.0:" + port, nil, ""},
		{"other", "tcp", ":" + wide, all[1], ""},
		{"other", "tcp", "127.0.0.1:0", nil, ""},
		{"other", "udp", udpAddress, all[2], ""},
		{"dns", "tcp", "127.0.0.1:53", nil, "(\"dns\", udp " + udpAddress + ") is not of network tcp"},
		{"conn", "tcp", ":1", nil, "it is a connection"},
		{"null", "tcp", ":1", nil, "it is no socket"},
		{"unix/" + path, "unix", path, all[5], ""},
		{"unix/" + path, "unix", path + "x", nil, ""},
		{"web", "ip", "127.0.0.1", nil, "unknown network"},
	} {
		h := inheritance{free: slices.Clone(all), fixed: map[uint64]bool{}}
		w, err := want(tt.name, tt.network, tt.address)
		var got *given
		if err == nil {
			got, err = h.take(w)
		}
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s %s %s: %v, %v; want %v, %q", tt.name, tt.network, tt.address, got, err, tt.want, tt.err)
		}
		if again, _ := h.take(w); got != nil && again == got {
			t.Errorf("%s: given twice", tt.name)
		}
	}
	_ = os.Remove(path)
	gone := pass(t, escape("unix/"+path), local)
	twice := pass(t, escape("web"), tcp) // a predecessor has stored what is the unit's
	h := inheritance{}
	err := h.use(slog.New(slog.DiscardHandler), func(*slog.Logger) ([]*given, error) { return append(all[:4:4], gone, twice), nil })
	if err != nil || len(h.free) != 4 {
		t.Errorf("%d are left, %v", len(h.free), err)
	}
	stored, units := h.leave(slog.New(slog.DiscardHandler))
	if want := []string{escape("unix/" + path), escape("web")}; !slices.Equal(stored, want) || len(units) != 4 {
		t.Errorf("to be removed from the store: %q, want %q; of units: %q", stored, want, units)
	}
	h.stop()
	h = inheritance{}
	err = h.use(slog.New(slog.DiscardHandler), func(*slog.Logger) ([]*given, error) { return all[4:5], nil })
	if !errors.Is(err, ErrSockets) || !strings.Contains(err.Error(), `("null") cannot be served: it is no socket`) {
		t.Errorf("a file: %v", err)
	}
	_ = all[5].fd.Close()
}

// shortDir returns a directory whose name leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
