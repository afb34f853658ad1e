package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kernel is one that is unpacked.
type kernel struct {
	release string // 6.1.0-57-cloud-amd64
	image   string // boot/vmlinuz-...
	modules string // lib/modules/...
}

// get returns the newest kernel of a series, such as 6.1, from the cache, or by apt. Nothing is installed.
func get(ctx context.Context, cache, series string) (kernel, error) {
	dir := filepath.Join(cache, series)
	if k, ok := unpacked(dir); ok {
		return k, nil
	}
	manual := fmt.Sprintf("or unpack one yourself: apt-get download 'linux-image-%s...-cloud-amd64' && dpkg-deb -x linux-image-*.deb %s", series, dir)
	if _, err := exec.LookPath("apt-get"); err != nil {
		return kernel{}, fmt.Errorf("linux %s: there is no apt-get to get it with; %s", series, manual)
	}
	name, err := newest(ctx, series)
	if err != nil {
		return kernel{}, fmt.Errorf("linux %s: %w; apt-get update, %s", series, err, manual)
	}
	fmt.Println("downloading", name)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return kernel{}, err
	}
	tmp, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(tmp)
	if err := command(ctx, tmp, "apt-get", "download", name); err != nil {
		return kernel{}, fmt.Errorf("linux %s: %w; apt-get update, %s", series, err, manual)
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return kernel{}, fmt.Errorf("apt-get download %s: %d packages came: %w", name, len(debs), err)
	}
	if err := command(ctx, tmp, "dpkg-deb", "-x", debs[0], "root"); err != nil {
		return kernel{}, err
	}
	if err := os.Rename(filepath.Join(tmp, "root"), dir); err != nil {
		return kernel{}, err
	}
	k, ok := unpacked(dir)
	if !ok {
		return kernel{}, fmt.Errorf("%s has no kernel in it", name)
	}
	return k, nil
}

func command(ctx context.Context, dir string, args ...string) error {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// unpacked finds the kernel that was unpacked in dir. Its modules are in /lib, or in /usr/lib in newer packages.
func unpacked(dir string) (kernel, bool) {
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(images) != 1 {
		return kernel{}, false
	}
	k := kernel{image: images[0], release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	for _, lib := range []string{"lib", "usr/lib"} {
		k.modules = filepath.Join(dir, lib, "modules", k.release)
		if _, err := os.Stat(k.modules); err == nil {
			return k, true
		}
	}
	return kernel{}, false
}

var digits = regexp.MustCompile(`\d+`)

// newest asks apt for the name of the newest package.
func newest(ctx context.Context, series string) (string, error) {
	pattern := `^linux-image-` + regexp.QuoteMeta(series) + `\.[0-9].*cloud-amd64$`
	out, err := exec.CommandContext(ctx, "apt-cache", "search", "--names-only", pattern).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache search: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name, _, ok := strings.Cut(line, " "); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", errors.New("apt knows of no such package")
	}
	return slices.MaxFunc(names, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }), nil
}

func numbers(name string) (ns []int) {
	for _, s := range digits.FindAllString(name, -1) {
		n, _ := strconv.Atoi(s) // digits only
		ns = append(ns, n)
	}
	return ns
}
