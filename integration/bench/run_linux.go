package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// run measures everything and prints the table.
func run(ctx context.Context, w io.Writer, o options) error {
	dir, err := os.MkdirTemp("", "segue-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var figures []figure
	var tl moments
	began := time.Now()
	for _, section := range []struct {
		name string
		run  func(context.Context, options, string) ([]figure, error)
	}{
		{"throughput", throughput},
		{"generations", generations},
		{"moving", moving},
		{"latency", latency},
		{"bodies", bodies},
		{"handover", func(ctx context.Context, o options, dir string) (f []figure, err error) {
			f, tl, err = handover(ctx, o, dir)
			return f, err
		}},
	} {
		if o.only != nil && !o.only.MatchString(section.name) {
			continue
		}
		fmt.Fprintf(w, "%s ...\n", section.name)
		f, err := section.run(ctx, o, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		figures = append(figures, f...)
	}
	fmt.Fprintf(w, "%.0f s, %s, %d CPUs; medians of as many rounds as the table says\n\n", time.Since(began).Seconds(), runtime.Version(), runtime.NumCPU())
	if err := table(w, figures); err != nil || !o.verbose || tl == nil {
		return err
	}
	fmt.Fprintln(w)
	return tl.print(w)
}
