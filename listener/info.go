package listener

// Info is what fstat(2), fcntl(2), getsockopt(2) and getsockname(2) say about a descriptor.
type Info struct {
	Network   string // as net.Listen takes it: tcp, udp, unix, unixgram, unixpacket; "" for anything else
	Address   string // as net.Addr prints it, "@name" if abstract; "" if it has none, or is no socket
	Socket    bool
	Domain    int // AF_*
	Type      int // SOCK_*
	Protocol  int // IPPROTO_*; IPPROTO_MPTCP for what net.Listen makes by default
	Listening bool
	V6Only    bool   // an IPv6 socket that takes no IPv4
	ReusePort bool   // SO_REUSEPORT: others may be bound to the same address
	Cookie    uint64 // SO_COOKIE: which socket this is, among all since boot
	Dev, Ino  uint64
	Mode      uint32 // st_mode, with the type of the file
	Flags     int    // F_GETFL: access mode and status flags
}

// accessMode is O_ACCMODE, the part of Flags that is settled at open.
const accessMode = 3

// Same reports whether both are the same open file, as far as the kernel tells: for sockets the cookie, which no two
// of them ever share; for files device, inode, type and access mode. Two separate opens of a file count as the same,
// and so do two descriptors of one anonymous inode, which eventfds, for example, all share.
func (i Info) Same(o Info) bool {
	if i.Socket || o.Socket {
		return i.Socket == o.Socket && i.Cookie != 0 && i.Cookie == o.Cookie
	}
	const typ = 0o170000 // S_IFMT
	return i.Ino != 0 && i.Dev == o.Dev && i.Ino == o.Ino && i.Mode&typ == o.Mode&typ &&
		i.Flags&accessMode == o.Flags&accessMode
}
