//go:build race

package succession

// raceDetector makes exploring ten times as slow.
const raceDetector = true
