// Package sockdiag asks sock_diag(7) about the Unix sockets in the network namespace of the thread that asks. In contrast to
// /proc/net/unix, where the name of a socket may contain a line break and all that makes a line, nothing can be forged
// there; and it tells more: the peer, the file that a bind made, and the length of an accept queue. Linux only.
package sockdiag
