package handoff_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

type tw struct{ t *testing.T }

func (w tw) Write(b []byte) (int, error) { w.t.Log(string(b)); return len(b), nil }

func TestTwoInOneProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	path := filepath.Join(t.TempDir(), "s")
	log := slog.New(slog.NewTextHandler(tw{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g1, err := handoff.Join(ctx, handoff.Config{Path: path, Logger: log.With("g", 1), Guard: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer g1.Close()
	l1, err := g1.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := g1.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l1.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l1.Accept(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	g2, err := handoff.Join(ctx, handoff.Config{Path: path, Logger: log.With("g", 2)})
	if err != nil {
		t.Fatal(err)
	}
	defer g2.Close()
	l2, err := g2.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := g2.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if l1.Addr().String() != l2.Addr().String() {
		t.Fatal(l1.Addr(), l2.Addr())
	}
	if err := g1.Wait(ctx, nil); err != nil {
		t.Fatal(err)
	}
	c, err = net.Dial("tcp", l1.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l2.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Log(g2.Status())
	if err := g2.Close(); err != nil {
		t.Fatal(err)
	}
}
