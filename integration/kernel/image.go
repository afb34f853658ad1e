package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// modules are what the tests need that is no part of the kernel's image; there is no harm in one that is.
var modules = []string{"unix_diag", "inet_diag", "tcp_diag", "udp_diag"}

// initScript is process 1 of the guest. What the tests print goes to the second serial port, the kernel's to the first. The
// lines that begin with == are for report.
const initScript = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /usr/bin /usr/sbin /sbin /etc
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmp /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
for m in /modules/*.ko; do insmod $m 2>/dev/null; done
ip link set lo up
export PATH=/bin HOME=/root TMPDIR=/tmp USER=root
ulimit -n 20000
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
echo "== kernel $(uname -r)"
. /suites
echo "== end"
exec >/dev/null 2>&1
sync
poweroff -f
`

// makeImage writes an initramfs.
func makeImage(ctx context.Context, name, root, work, busybox string, k kernel, suites []suite) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := &archive{w: bufio.NewWriter(f), dirs: map[string]bool{}}
	a.device("dev/console", 5, 1)
	a.device("dev/null", 1, 3)
	a.file("bin/busybox", 0o755, busybox)
	a.bytes("init", 0o755, []byte(initScript))
	a.bytes("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"))
	a.bytes("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	a.bytes("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n"))
	a.bytes("etc/nsswitch.conf", 0o644, []byte("hosts: files\n"))
	if err := a.modules(ctx, k, work); err != nil {
		return err
	}
	var script bytes.Buffer
	for _, s := range suites {
		a.file("bin/"+s.binary, 0o755, filepath.Join(work, "bin", s.binary))
		fmt.Fprintf(&script, "cd /src/%s; echo '== suite %s'; /bin/%s -test.v -test.parallel=2 -test.timeout=30m -test.run='%s'; echo \"== exit $?\"\n", s.pkg, s.pkg, s.binary, s.pattern)
	}
	a.bytes("suites", 0o644, script.Bytes())
	if err := a.source(ctx, root); err != nil {
		return err
	}
	a.entry("TRAILER!!!", 0, 0, 0, 0, 0, nil)
	return errors.Join(a.err, a.w.Flush())
}

// archive writes cpio's format newc, see Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source.
type archive struct {
	w    *bufio.Writer
	n    int // bytes written
	ino  int
	dirs map[string]bool
	err  error // the first
}

func (a *archive) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
	a.n += len(b)
}

func (a *archive) pad() { a.write(make([]byte, -a.n&3)) }

func (a *archive) entry(name string, mode uint32, size, major, minor, links int, data io.Reader) {
	a.ino++
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.ino, mode, 0, 0, links, 0, size, 0, 0,
		major, minor, len(name)+1, 0))
	a.write([]byte(name + "\x00"))
	a.pad()
	if data == nil || a.err != nil {
		return
	}
	n, err := io.CopyN(a.w, data, int64(size))
	a.err = err
	a.n += int(n)
	a.pad()
}

func (a *archive) parents(name string) {
	dir := path.Dir(name)
	if dir == "." || a.dirs[dir] {
		return
	}
	a.parents(dir)
	a.dirs[dir] = true
	a.entry(dir, 0o040755, 0, 0, 0, 2, nil)
}

func (a *archive) device(name string, major, minor int) {
	a.parents(name)
	a.entry(name, 0o020666, 0, major, minor, 1, nil)
}

func (a *archive) bytes(name string, mode uint32, b []byte) {
	a.parents(name)
	a.entry(name, 0o100000|mode, len(b), 0, 0, 1, bytes.NewReader(b))
}

func (a *archive) file(name string, mode uint32, from string) {
	b, err := os.ReadFile(from)
	if err != nil {
		a.err = errors.Join(a.err, err)
		return
	}
	a.bytes(name, mode, b)
}

// modules puts modules and what they depend on in the order in which they are to be loaded.
func (a *archive) modules(ctx context.Context, k kernel, work string) error {
	files := map[string]string{}
	err := filepath.WalkDir(k.modules, func(name string, _ fs.DirEntry, err error) error {
		base, _, _ := strings.Cut(filepath.Base(name), ".ko")
		if base != filepath.Base(name) {
			files[strings.ReplaceAll(base, "-", "_")] = name
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, m := range modules {
		name, ok := files[m]
		if !ok {
			continue // a part of the image
		}
		if strings.HasSuffix(name, ".xz") {
			out, err := exec.CommandContext(ctx, "xz", "-dc", name).Output()
			if err != nil {
				return fmt.Errorf("xz -dc %s: %w; for example: apt-get install xz-utils", name, err)
			}
			name = filepath.Join(work, m+".ko")
			if err := os.WriteFile(name, out, 0o644); err != nil {
				return err
			}
		}
		a.file(fmt.Sprintf("modules/%d-%s.ko", i, m), 0o644, name)
	}
	return nil
}

// source adds all files of the repository: tests read them.
func (a *archive) source(ctx context.Context, root string) error {
	c := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	c.Dir = root
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		from := filepath.Join(root, name)
		info, err := os.Lstat(from)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, and not committed yet
		}
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			a.file("src/"+name, uint32(info.Mode().Perm()), from)
		}
	}
	return nil
}
