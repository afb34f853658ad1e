// Package measured is what `make demo` and `make bench-peers` have measured, as JSON in a file, from which integration/plot
// draws pictures. Neither of them links a plot library so.
package measured

import (
	"encoding/json"
	"fmt"
	"os"
)

// Demo is one run of integration/demo. Times are seconds since the load began.
type Demo struct {
	Seconds     float64      `json:"seconds"` // how long the load lasted
	Generations []Generation `json:"generations"`
	Events      []Event      `json:"events"`
	Requests    []Request    `json:"requests"` // those that were answered rightly
	Failures    []Failure    `json:"failures"`
	Lines       []Line       `json:"lines"`
	Lasting     []Lasting    `json:"lasting"`
}

// Generation is a process that answered.
type Generation struct {
	Number int  `json:"number"` // from 1; 0 is a successor that failed
	PID    int  `json:"pid"`
	Failed bool `json:"failed,omitempty"`
}

// Event is an upgrade, or a successor that failed.
type Event struct {
	At     float64 `json:"at"`
	Until  float64 `json:"until,omitempty"` // when it was over, if that is later
	Label  string  `json:"label"`
	Failed bool    `json:"failed,omitempty"`
}

// Request is one that was answered.
type Request struct {
	At         float64 `json:"t"` // when the answer was there
	Latency    float64 `json:"s"` // seconds, without what it was meant to take
	Generation int     `json:"g"` // place in Demo.Generations; -1 is unknown
}

// Failure is a request that was not answered, or a connection that broke.
type Failure struct {
	At      float64 `json:"at"`
	Excused bool    `json:"excused,omitempty"` // it died with the successor that had accepted it
}

// Line is one connection that is to live from the start to the end.
type Line struct {
	Kind   string    `json:"kind"`
	From   float64   `json:"from"`
	To     float64   `json:"to"`
	Served []Service `json:"served"` // where the generation changes; of an idle connection each answer
	Breaks []float64 `json:"breaks,omitempty"`
}

// Service says that a generation answered on a connection, or took it over.
type Service struct {
	At         float64 `json:"t"`
	Generation int     `json:"g"` // number, from 1; 0 is unknown
}

// Lasting says how connections of a kind fared that were to live through all.
type Lasting struct {
	Kind        string `json:"kind"`
	Connections int    `json:"connections"`
	Lost        int    `json:"lost"`
}

// Peers is one run of integration/peers.
type Peers struct {
	Upgrades int    `json:"upgrades"` // of each server
	Fresh    int    `json:"fresh"`    // clients that make a connection for each request
	Kept     int    `json:"kept"`     // connections in use at a time
	Idle     int    `json:"idle"`     // connections at a time on which nothing happens
	Peers    []Peer `json:"peers"`
}

// Peer is a server that was upgraded under load, and what its clients noticed.
type Peer struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Promises string `json:"promises"` // by its own documentation
	Upgrades int    `json:"upgrades"` // that were done

	Requests int     `json:"requests"`
	Failed   int     `json:"failed"`    // requests without their answer
	Forced   int     `json:"forced"`    // times that a client in use had to connect anew: it was closed without a word, or told to leave
	Told     int     `json:"told"`      // of them: told to leave, by an answer with Connection: close
	IdleLost int     `json:"idle_lost"` // idle connections that ended
	Slow     int     `json:"slow"`      // slow requests
	SlowLost int     `json:"slow_lost"` // of them: without their answer; they are in Failed too
	P99      float64 `json:"p99"`       // seconds, of what was answered, without what slow requests were meant to take
	Longest  float64 `json:"longest"`   // the same
}

// Write writes a value to a file.
func Write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("measurements: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("measurements: %w", err)
	}
	return nil
}

// Read reads what Write wrote.
func Read(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("measurements: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("measurements in %s: %w", path, err)
	}
	return nil
}
