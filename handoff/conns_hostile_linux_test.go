package handoff_test

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// TestHostileConns: an incumbent that sends nonsense is refused, whole, and nothing of it stays.
func TestHostileConns(t *testing.T) {
	path := rendezvous(t)
	rl := rawListener(t, path)
	joined := make(chan *handoff.Generation, 1)
	c := config(t, path)
	go func() {
		g, err := handoff.Join(bounded(t), c)
		if err != nil {
			t.Error(err)
		}
		joined <- g
	}()
	i := acceptRaw(t, rl)
	i.features = []string{"conns"}
	hear[*wire.Hello](i)
	i.welcome(1)
	i.offer([]wire.Item{{Name: "tcp/x", Kind: wire.KindListener, Network: "tcp", Address: "x"}}, tcpListener(t))
	g := result(t, "Join", joined)
	t.Cleanup(func() { shut(t, g) })
	l := listen(t, g, "tcp", "x")
	cr, _ := newCrowd(t, l, 0)
	readied := make(chan error, 1)
	go func() { readied <- g.Ready(bounded(t)) }()
	hear[*wire.Prepared](i)
	i.send(&wire.Commit{})
	hear[*wire.Owned](i)
	confirm := hear[*wire.Confirm](i)
	if len(confirm.Takes) != 1 || confirm.Takes[0] != (wire.Take{Item: 0, Protocol: "test/1"}) || confirm.Room < 100 {
		t.Fatalf("got %+v", confirm)
	}
	if err := result(t, "Ready", readied); err != nil {
		t.Fatal(err)
	}

	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	client, server := pairOf(t, "tcp")
	tcp := server.(*net.TCPConn)
	before := descriptors(t)
	record := wire.AppendRecord(nil, wire.Record{Expires: -1, State: []byte("s")})
	batch := 0
	refused := func(what string, m *wire.Conns, fds ...syscall.Conn) {
		t.Helper()
		m.Batch = batch
		batch++
		i.send(m, fds...)
		if taken := hear[*wire.Taken](i); taken.Refused == "" || taken.Batch != m.Batch {
			t.Errorf("%s: got %+v", what, taken)
		}
		eventually(t, what+": descriptors are closed", func() bool { return descriptors(t) <= before+1 }) // the epoll instance stays
	}
	refused("no descriptor", &wire.Conns{Protocol: "test/1", Records: record})
	refused("no record", &wire.Conns{Protocol: "test/1"}, tcp)
	refused("a record too many", &wire.Conns{Protocol: "test/1", Records: append(record, record...)}, tcp)
	refused("another item", &wire.Conns{Item: 1, Protocol: "test/1", Records: record}, tcp)
	refused("another protocol", &wire.Conns{Protocol: "test/2", Records: record}, tcp)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	listening := tcpListener(t)
	before += 4 // the pipe, and two sockets
	for what, strange := range map[string]syscall.Conn{"a file": file, "a pipe": r, "a packet socket": udp, "a listener": listening} {
		refused(what+", and a connection", &wire.Conns{Protocol: "test/1", Records: append(record, record...)}, tcp, strange)
		refused(what+" that is given", &wire.Conns{Name: "gift", Records: record}, strange)
	}
	if st := g.Status(); st.Arrived != 0 {
		t.Errorf("%d have arrived", st.Arrived)
	}

	// And a good one, after all that.
	i.send(&wire.Conns{Batch: batch, Protocol: "test/1", Records: record}, tcp)
	if taken := hear[*wire.Taken](i); taken.Refused != "" {
		t.Fatalf("got %+v", taken)
	}
	_ = server.Close()
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	cr.until(t, "arrival", func() bool { return len(cr.arrived) == 1 && cr.states[0] == "s" })
	talk(t, client, func() net.Conn { b := make([]byte, 5); _, _ = io.ReadFull(cr.arrived[0], b); return cr.arrived[0] }())
}
