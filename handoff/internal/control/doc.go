// Package control is what a running chain and who asks it say to each other, and the side of the chain: the socket beside the
// rendezvous, who may ask there, and how many at a time. Package handoff/control asks.
package control
