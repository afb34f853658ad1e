// Package chain builds an example, runs generations of it as processes, and upgrades them in both ways, for the tests
// of the examples.
package chain
