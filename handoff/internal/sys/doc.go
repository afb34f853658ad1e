// Package sys makes system calls on a bare descriptor, and a connection of one. Linux only.
package sys
