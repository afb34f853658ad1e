package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The values of flags, with errors that say what to write instead.

// pidValue is the number of a process.
type pidValue int

func (v *pidValue) String() string { return strconv.Itoa(int(*v)) }
func (v *pidValue) Type() string   { return "process" }

func (v *pidValue) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n <= 0 {
		return errors.New("that is not the number of a process")
	}
	*v = pidValue(n)
	return nil
}

// timeValue is a duration.
type timeValue time.Duration

func (v *timeValue) Type() string { return "time" }

func (v *timeValue) String() string {
	if *v == 0 {
		return "0"
	}
	return time.Duration(*v).String()
}

func (v *timeValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	switch _, notNumber := strconv.ParseFloat(s, 64); {
	case err == nil && d < 0:
		return errors.New("a time cannot be negative")
	case err == nil:
		*v = timeValue(d)
		return nil
	case notNumber == nil:
		return fmt.Errorf("it needs a unit; say for example %ss, or %[1]sms", s)
	}
	return errors.New("that is not a time; say for example 500ms, 5s or 1m30s")
}

// listenArg is an argument of --listen.
type listenArg struct{ name, network, address string }

var networks = map[string]bool{"tcp": true, "tcp4": true, "tcp6": true, "udp": true, "udp4": true, "udp6": true,
	"unix": true, "unixgram": true, "unixpacket": true}

// parseListen reads [NAME=][NETWORK/]ADDRESS.
func parseListen(s string) (listenArg, error) {
	var l listenArg
	l.address = s
	if name, rest, ok := strings.Cut(s, "="); ok && !strings.ContainsAny(name, "/@") {
		if name == "" || strings.Contains(name, ":") || len(name) > 255 || strings.IndexFunc(name, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsControl(r) }) >= 0 {
			return l, errors.New("a name has 1 to 255 printable ASCII characters, without a colon")
		}
		l.name, l.address = name, rest
	}
	if network, rest, ok := strings.Cut(l.address, "/"); ok && networks[network] {
		l.network, l.address = network, rest
	} else if strings.HasPrefix(l.address, "/") || strings.HasPrefix(l.address, "@") {
		l.network = "unix"
	} else if ok {
		return l, fmt.Errorf("there is no network %q, but tcp, tcp4, tcp6, udp, udp4, udp6, unix, unixgram and unixpacket; a path begins with /, "+
			"or, if it is relative, with unix/", network)
	} else {
		l.network = "tcp"
	}
	if l.address == "" {
		return l, errors.New("there is no address in it; say for example :80 or /run/app.sock")
	}
	if strings.HasPrefix(l.network, "unix") {
		if l.name == "" {
			l.name = l.network + "-" + plain(filepath.Base(l.address))
		}
		return l, nil
	}
	port, err := portOf(l.network, l.address)
	if err != nil {
		return l, err
	}
	if l.name == "" {
		l.name = l.network + "-" + plain(port)
	}
	return l, nil
}

// portOf returns the port of HOST:PORT.
func portOf(network, address string) (string, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		switch n, notNumber := strconv.ParseUint(address, 10, 16); {
		case notNumber == nil:
			return "", fmt.Errorf("a port has a colon in front; say :%d", n)
		case strings.Count(address, ":") > 1 && !strings.HasPrefix(address, "["):
			return "", fmt.Errorf("an IPv6 address is in brackets, and a port follows; say for example [%s]:80", address)
		case !strings.Contains(strings.TrimSuffix(address, ":"), ":") || strings.HasSuffix(address, "]"):
			return "", fmt.Errorf("there is no port in it; say for example %s:80", address)
		}
		return "", errors.New("that is no address; say for example :80, 127.0.0.1:80, [::1]:80 or /run/app.sock")
	}
	if port == "" {
		return "", errors.New("there is no port after the colon; say for example :80")
	}
	if _, err := net.LookupPort(network, port); err != nil {
		return "", fmt.Errorf("there is no port %q; it is a number up to 65535, or a name in /etc/services", port)
	}
	return port, nil
}

// plain replaces what LISTEN_FDNAMES cannot hold.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == ':' {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}
