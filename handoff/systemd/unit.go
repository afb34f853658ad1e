package systemd

// place is where a successor is.
type place int

const (
	inUnit    place = iota // in the unit of this process
	elsewhere              // in another one, or none
	nowhere                // it has ended
)
