package tableflip

import (
	"fmt"
	"os"
	"strings"
)

// The kinds of tableflip (fds.go).
const (
	listenKind = "listener"
	packetKind = "packet"
	connKind   = "conn"
	fileKind   = "fd"
)

// key is the name under which tableflip hands something over: a kind, and what the program asked for. A file has its name in the place
// of the network.
type key struct{ kind, network, address string }

// keyOf is the key of what a program asks a Generation for.
func keyOf(name, network, address string) key {
	switch network {
	case "":
		return key{kind: fileKind, network: name}
	case "tcp", "tcp4", "tcp6", "unix", "unixpacket":
		return key{listenKind, network, address}
	default:
		return key{packetKind, network, address}
	}
}

// path is the file that belongs to a Unix socket; "" if there is none.
func (k key) path() string {
	switch k.network {
	case "unix", "unixpacket", "unixgram":
		if k.kind != connKind && !strings.HasPrefix(k.address, "@") {
			return k.address
		}
	}
	return ""
}

// spareSuffix makes a second name of a Unix socket's path, which is there during a Rollback.
const spareSuffix = ".segue-rollback"

// removeSpare removes what a Rollback has left behind that was killed.
func removeSpare(path string) {
	name := path + spareSuffix
	if i, err := os.Lstat(name); path != "" && err == nil && i.Mode().Type() == os.ModeSocket {
		_ = os.Remove(name)
	}
}

// clashes reports whether the two are most likely one socket in other words: to bind k would be in the way of other.
func (k key) clashes(other key) bool {
	if k.kind != other.kind || k.kind == fileKind {
		return false
	}
	port := func(k key) string {
		i := strings.LastIndexByte(k.address, ':')
		return k.address[i+1:]
	}
	if k.path() != "" || other.path() != "" {
		return k.path() == other.path()
	}
	return transport(k.network) == transport(other.network) && port(k) == port(other) && port(k) != "0" && port(k) != ""
}

// transport is a network without the version of IP.
func transport(network string) string { return strings.TrimRight(network, "46") }

func (k key) String() string {
	if k.kind == fileKind {
		return fmt.Sprintf("file %q", k.network)
	}
	return fmt.Sprintf("%s %s %s", k.kind, k.network, k.address)
}

// parts is how a key is sent.
func (k key) parts() []string { return []string{k.kind, k.network, k.address} }

// keyFrom undoes parts. Missing parts are empty, as for tableflip.
func keyFrom(parts []string) key {
	var p [3]string
	copy(p[:], parts)
	return key{p[0], p[1], p[2]}
}
