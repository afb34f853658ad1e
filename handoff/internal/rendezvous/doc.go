// Package rendezvous is the Unix socket at which the incumbent awaits a successor: it finds who listens there, or binds it,
// replaces who does not answer, and accepts who calls. Linux only.
package rendezvous
