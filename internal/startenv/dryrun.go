package startenv

// DryReport is what a dry run has found.
type DryReport struct {
	Incumbent int      `json:"incumbent"` // its process id, as it numbers itself
	Taken     []string `json:"taken"`     // sockets and files of the incumbent that the program asked for
	Left      []string `json:"left"`      // those that it did not ask for: they would be closed
	New       []string `json:"new"`       // what the program has bound itself
	// Checked: the incumbent has compared what came with what it had sent. Otherwise it is of a release that knows no dry run.
	Checked bool   `json:"checked"`
	Error   string `json:"error,omitempty"` // why a real one would have failed
}
