package process

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Socket is a socket that listens, or that receives datagrams at an address, and the processes that hold it. It is a
// snapshot and owns nothing. Stream sockets that are bound but do not listen are none, nor is anything connected.
type Socket struct {
	Network   string `json:"network"` // as net.Listen takes it: tcp, udp, unix, unixgram or unixpacket
	Address   string `json:"address"` // as net.Addr prints it; "@name" if abstract
	Listening bool   `json:"listening"`
	Inode     uint64 `json:"inode"`           // practically tells sockets apart while they exist; the numbers come again after 2^32
	NetNS     uint64 `json:"netns,omitempty"` // the network namespace, as /proc/PID/ns/net numbers it; 0 if unknown

	// What only the socket itself tells, so known only if it could be taken; see Detailed.
	Detailed  bool   `json:"detailed"`
	Cookie    uint64 `json:"cookie,string,omitempty"` // SO_COOKIE: tells it apart from all others since boot
	MPTCP     bool   `json:"mptcp,omitempty"`         // multipath TCP, which Go's listeners are by default
	V6Only    bool   `json:"v6only,omitempty"`
	ReusePort bool   `json:"reuseport,omitempty"` // may be one of a group with this address

	Holders []Holder `json:"holders"` // ancestors first

	path string // of a Unix socket with a file: where that is, if Address is relative to the directory of its process
}

// file is the path of a Unix socket's file, from the root; "" if it is not known.
func (s Socket) file() string {
	if s.path == "" && filepath.IsAbs(s.Address) {
		return filepath.Clean(s.Address)
	}
	return s.path
}

// in says in which directory the process is that has the socket.
func (s *Socket) in(dir string) {
	if strings.HasPrefix(s.Network, "unix") && s.Address != "" && !strings.HasPrefix(s.Address, "@") && !filepath.IsAbs(s.Address) && filepath.IsAbs(dir) {
		s.path = filepath.Join(dir, s.Address)
	}
}

// Holder is a process that has the socket open.
type Holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"` // comm in proc_pid_comm(5), at most 15 bytes
	FDs     []int  `json:"fds"`     // under which numbers it has the socket
}

// same reports whether both are the same socket. Inode numbers are 32 bits wide, and may come again once a socket is gone.
func (s Socket) same(o Socket) bool {
	if s.Cookie != 0 && o.Cookie != 0 {
		return s.Cookie == o.Cookie
	}
	return s.Inode == o.Inode
}

// String is for the operator: "tcp 0.0.0.0:80 (nginx 4711, nginx 4712)". What anybody can choose is escaped as in Go.
func (s Socket) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", s.Network, printable(s.Address))
	for i, h := range s.Holders {
		sep := ", "
		if i == 0 {
			sep = " ("
		}
		fmt.Fprintf(&b, "%s%s %d", sep, printable(h.Command), h.PID)
	}
	if len(s.Holders) > 0 {
		b.WriteString(")")
	}
	return b.String()
}

// printable keeps names that anybody can choose from driving a terminal, or making lines in a log.
func printable(s string) string {
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// NoSocketError says that a process has no socket at an address, and which it has.
type NoSocketError struct {
	PID     int
	Network string // as asked for
	Address string
	Have    []Socket
}

func (e *NoSocketError) Error() string {
	const most = 20
	if len(e.Have) == 0 {
		return fmt.Sprintf("process %d and its children have no listening or bound socket at all, so none for %s/%s; is it the right process?",
			e.PID, e.Network, printable(e.Address))
	}
	var has []string
	for i, s := range e.Have {
		if i == most {
			has = append(has, fmt.Sprintf("and %d more", len(e.Have)-most))
			break
		}
		address := s.Address
		if s.path != "" {
			address = s.path // it has to be asked for from here
		}
		has = append(has, s.Network+"/"+printable(address))
	}
	return fmt.Sprintf("process %d has no socket for %s/%s; ask for one that it has: %s",
		e.PID, e.Network, printable(e.Address), strings.Join(has, ", "))
}

// sortSockets puts sockets in the order in which they are listed and taken: by address, and those of a group by the
// number that they have in the first of their holders, which is most often the order in which they were made.
func sortSockets(all []Socket) {
	slices.SortFunc(all, func(a, b Socket) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), compareAddress(a.Address, b.Address),
			slices.CompareFunc(a.Holders, b.Holders, func(a, b Holder) int {
				return cmp.Or(cmp.Compare(a.PID, b.PID), slices.Compare(a.FDs, b.FDs))
			}), cmp.Compare(a.Inode, b.Inode))
	})
}
