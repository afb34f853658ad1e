//go:build !race

package succession

const raceDetector = false
