//go:build linux

package main

import (
	"context"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/segue-go/segue/examples/internal/chain"
	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

// check makes one call and returns which process answered.
func check(ctx context.Context, cc *grpc.ClientConn) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var header metadata.MD
	_, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(header.Get("pid")[0])
}

// TestUpgrades makes calls on connections that stay. GOAWAY sends each to the successor when the predecessor's guard
// is over.
func TestUpgrades(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0")
	addr := c.Address()
	owned := func() int {
		t.Helper()
		cc := dial(t, addr)
		defer cc.Close()
		pid, err := check(t.Context(), cc)
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	first := owned()

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var calls atomic.Int64
	var answering [4]atomic.Int64
	defer wg.Wait()
	defer stop()
	for i := range answering {
		cc := dial(t, addr)
		defer cc.Close()
		wg.Go(func() {
			for ctx.Err() == nil {
				pid, err := check(context.WithoutCancel(ctx), cc)
				if err != nil {
					t.Error(err)
					return
				}
				answering[i].Store(int64(pid))
				calls.Add(1)
			}
		})
	}
	some := func() {
		want := calls.Load() + 200
		c.Until("200 calls", func() bool { return t.Failed() || calls.Load() >= want })
	}
	moved := func(pid int) {
		for i := range answering {
			c.Until("GOAWAY", func() bool { return t.Failed() || answering[i].Load() == int64(pid) })
		}
	}
	some()
	pid := c.Upgrade(first, owned)
	some()
	moved(pid)
	pid = c.TakeOver(owned)
	some()
	moved(pid)
	stop()
	wg.Wait()
	c.Stop(pid)
}
