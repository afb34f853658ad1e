//go:build race

package chain

// race says that the examples are built as their tests are.
const race = true
