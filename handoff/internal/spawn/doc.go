// Package spawn starts the process that replaces this one, as this one was started, and passes its output on until it
// stands on its own. Linux only.
package spawn
