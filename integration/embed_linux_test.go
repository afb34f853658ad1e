package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
)

// roleEmbed is up to two servers in one process, each a chain of its own. SIGHUP upgrades the first, SIGUSR1 the second.
func roleEmbed(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	quit := make(chan int, len(c.Chains))
	for _, i := range c.Chains {
		h := c.handoff(e)
		c.Ptracer = false // it is already: that is the process's
		h.Path += strconv.Itoa(i)
		h.Signals = []os.Signal{[]unix.Signal{unix.SIGHUP, unix.SIGUSR1}[i]}
		gen, err := handoff.Join(ctx, h)
		e.result("join", err)
		if err != nil {
			return 1
		}
		defer gen.Close()
		network, address, _ := strings.Cut(c.Listen[i], "/")
		ln, err := gen.Listen(ctx, network, address)
		if err != nil {
			e.result("listen", err)
			return 1
		}
		go func() { quit <- embedded(ctx, gen, ln, i, e) }()
	}
	code := 0
	for range c.Chains {
		code = max(code, <-quit)
	}
	return code
}

func embedded(ctx context.Context, gen *handoff.Generation, ln net.Listener, i int, e *emitter) int {
	var conns clients
	go conns.serve(ln)
	err := gen.Ready(ctx)
	e.result(fmt.Sprintf("ready%d", i), err)
	if err != nil {
		return 1
	}
	err = gen.Wait(ctx, conns.drain)
	e.result(fmt.Sprintf("wait%d", i), err)
	return 0
}

// TestEmbedded: two chains in one process are upgraded one without the other, and together.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "embed")
	second := strings.Replace(w.addr, ":7000", ":7001", 1)
	w.conf.Listen = append(w.conf.Listen, "tcp/"+second)
	w.conf.Chains = []int{0, 1}
	both := w.start("embed")
	serves := func(p *proc, chains ...int) {
		t.Helper()
		for _, i := range chains {
			if e := w.wait(0, p.pid, fmt.Sprintf("ready%d", i), ""); e.Err != "" {
				t.Fatalf("pid %d, chain %d: %s", p.pid, i, e.Err)
			}
		}
	}
	serves(both, 0, 1)
	soleOwner(t, w.addr, both.pid)
	soleOwner(t, second, both.pid)
	vs0, vs1 := come(t, w.addr, 2), come(t, second, 2)

	w.conf.Chains = []int{0}
	first := w.upgrade(both)
	serves(first, 0)
	w.wait(0, both.pid, "wait0", "")
	soleOwner(t, w.addr, first.pid)
	soleOwner(t, second, both.pid)

	w.conf.Chains = []int{1}
	other := w.start("embed")
	serves(other, 1)
	w.ended(both)
	soleOwner(t, w.addr, first.pid)
	soleOwner(t, second, other.pid)

	// Started for the second chain, and takes the first on its way.
	w.conf.Chains = []int{0, 1}
	w.configure()
	mark := w.mark()
	w.signal(other, unix.SIGUSR1)
	e := w.await(mark, "a successor", func(e event) bool { return e.Ev == "start" && e.Parent == other.pid })
	last := w.of(e.PID)
	serves(last, 0, 1)
	w.ended(first)
	w.ended(other)
	soleOwner(t, w.addr, last.pid)
	soleOwner(t, second, last.pid)
	for _, vs := range []*visits{vs0, vs1} {
		for _, v := range lost(vs.leave()) {
			t.Errorf("lost: %v", v)
		}
	}
}
