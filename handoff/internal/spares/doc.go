// Package spares keeps some descriptors open that are closed when a handover needs descriptors and the clients have taken all
// others. Linux only.
package spares
