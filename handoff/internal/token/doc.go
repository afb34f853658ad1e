// Package token is the right to own the sockets, as the kernel keeps it: of two processes that want it, one gets it.
package token
