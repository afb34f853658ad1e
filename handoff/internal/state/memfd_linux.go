package state

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// allSeals is what a section's memfd must have: nobody can change it any more, nor its size, so that who reads it need not
// trust who made it (F_ADD_SEALS, fcntl(2)).
const allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// memfd is memory that can be sent to another process: memfd_create(2).
type memfd struct {
	*os.File
	size int64 // once sealed
}

// writeMemfd returns what save writes, sealed. It does not wait for save to return once ctx has ended.
func (set *Set) writeMemfd(ctx context.Context, pool *spares.Pool, s *Section, what string, save saver) (*memfd, error) {
	var n int
	err := pool.Do(1, 1, func() (err error) {
		name, flags := "segue:"+s.Name[:min(len(s.Name), 200)], unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING
		if n, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL); err == unix.EINVAL { // before Linux 6.3
			n, err = unix.MemfdCreate(name, flags)
		}
		return err
	})
	if err != nil {
		return nil, &sectionError{s.Name, what, os.NewSyscallError("memfd_create", err)}
	}
	m := &memfd{File: os.NewFile(uintptr(n), s.Name)}
	err = set.call(ctx, s, what, func(ctx context.Context) error {
		w := bufio.NewWriterSize(writerWithin{ctx, m.File}, 64<<10)
		if err := save(ctx, w); err != nil {
			return err
		}
		return w.Flush()
	})
	if err == nil {
		err = m.seal()
	}
	if err != nil {
		_ = m.Close() // also under one that goes on writing, whose writes fail from here on
		return nil, err
	}
	return m, nil
}

func (m *memfd) seal() error {
	info, err := m.Stat()
	if err != nil {
		return err
	}
	m.size = info.Size()
	raw, err := m.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(n uintptr) { _, inner = unix.FcntlInt(n, unix.F_ADD_SEALS, allSeals) })
	if err == nil && inner != nil {
		err = os.NewSyscallError("fcntl F_ADD_SEALS", inner)
	}
	return err
}

// adoptMemfd makes a memfd of fd, which it takes, if that is sealed and has size bytes.
func adoptMemfd(fd *listener.FD, name string, size int64) (*memfd, error) {
	err := sys.Control(fd, func(n int) error {
		seals, err := unix.FcntlInt(uintptr(n), unix.F_GET_SEALS, 0)
		if err != nil {
			return fmt.Errorf("%w: section %q is no memfd: %w", wire.ErrProtocol, name, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(n, &st); err != nil {
			return os.NewSyscallError("fstat", err)
		}
		if seals&allSeals != allSeals || st.Size != size {
			return fmt.Errorf("%w: section %q has seals %#x, not %#x, or %d bytes, not %d", wire.ErrProtocol, name, seals, allSeals, st.Size, size)
		}
		return nil
	})
	if err != nil {
		_ = fd.Close()
		return nil, err
	}
	return &memfd{File: fd.File(name), size: size}, nil
}

// reader reads m from its beginning, and shows nothing of it but its bytes.
func (m *memfd) reader() *io.SectionReader {
	return io.NewSectionReader(struct{ io.ReaderAt }{m.File}, 0, m.size)
}

// writerWithin fails once ctx has ended, so that a callback notices that does not look at it.
type writerWithin struct {
	ctx context.Context
	w   io.Writer
}

func (w writerWithin) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.w.Write(p)
}
