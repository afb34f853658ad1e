package tableflip

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// readUntil calls read, which reads from f, and ends it with ctx.
func readUntil(ctx context.Context, f *os.File, read func() error) error {
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = f.SetReadDeadline(time.Now())
		close(expired)
	})
	err := read()
	if !stop() {
		<-expired // it would end another call
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
