// Command fdbench measures how fast package fdpass moves descriptors, in each way, beside a minimal C program that does
// the same in the same run. The rounds of both alternate, so that what else happens on the machine hits both; what is
// compared is the median. It needs Linux and a C compiler.
//
// One and 253 sockets go by SCM_RIGHTS to the process itself, so that no switch between processes is measured; about
// 19,000 (RLIMIT_NOFILE permitting) go from one process to another, which send and receive at the same time. By
// pidfd_getfd and procfs they always come from another process. Sockets are bare TCP sockets; procfs moves memfds. Closing
// them is not measured.
//
// One descriptor in a message of its own shows what a *net.UnixConn costs each message, and why the bare C program is out
// of reach there. Its socket is registered with the runtime's poller, so that each sendmsg(2) wakes a thread that waits in
// epoll_wait(2), if there is one, by EPOLLIN on the other end, and each recvmsg(2) by EPOLLOUT: for the kernel that is more
// work than a descriptor. No user of net.UnixConn can do without. So there is a second C program beside it, whose sockets
// are in epoll too, as those of every program with an event loop: against that one, the ratio is what Go's calls and
// package fdpass add. With 253 descriptors in a message, it hardly matters any more.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
)

const (
	envRole = "SEGUE_FDBENCH_ROLE"
	bound   = 2 * time.Minute
	many    = 19_000 // about as many as fit RLIMIT_NOFILE of 20,000
	aim     = 1.3    // times the C program's time
)

func main() {
	if role := os.Getenv(envRole); role != "" {
		exit(play(role, os.Args[1:]))
	}
	rounds := flag.Int("rounds", 15, "take the median over this `number` of rounds")
	flag.Parse()
	if *rounds < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "fdbench: it takes flags only, and -rounds 1 or more")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	exit(run(ctx, os.Stdout, *rounds))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fdbench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// way is one way of moving descriptors.
type way struct {
	name  string
	floor string // as the C program calls it
	title string
	most  int // descriptors
}

var ways = []way{
	{"scm", "scm", "SCM_RIGHTS", many},
	{"scm", "polled", "SCM_RIGHTS, C polled too", fdpass.MaxFDs},
	{"pidfd", "pidfd", "pidfd_getfd", many},
	{"procfs", "procfs", "procfs", many},
}

// figure is one line of the table.
type figure struct {
	way    way
	n      int
	ours   []time.Duration // per descriptor, one for each round
	floors []time.Duration
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

func table(w io.Writer, figures []figure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "way\tdescriptors\tsegue\tC\tsegue/s\tC/s\tratio\taim\t")
	for _, f := range figures {
		ours, floor := median(f.ours), median(f.floors)
		ratio := float64(ours) / float64(floor)
		met := "met"
		if ratio > aim {
			met = "missed"
		}
		fmt.Fprintf(t, "%s\t%d\t%.3f µs\t%.3f µs\t%.0fk\t%.0fk\t%.2f\t≤ %.1f %s\t\n", f.way.title, f.n,
			float64(ours)/1e3, float64(floor)/1e3, 1e6/float64(ours), 1e6/float64(floor), ratio, aim, met)
	}
	return t.Flush()
}
