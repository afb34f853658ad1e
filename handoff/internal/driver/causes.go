package driver

// causes are why an attempt fails, and what came of that: the first, and the last two. What is in between does not matter any
// more, and a successor that cannot be killed can add to it as often as it likes.
type causes []error

// also adds next to what is known.
func also(err, next error) error {
	var c causes
	if known, ok := err.(causes); ok { //nolint:errorlint // only the outermost is ours
		c = append(c, known...)
	} else {
		c = append(c, err)
	}
	if len(c) == 3 {
		c = append(c[:1], c[2])
	}
	return append(c, next)
}

func (c causes) Error() string {
	text := c[0].Error()
	for _, err := range c[1:] {
		text += "; " + err.Error()
	}
	return text
}

func (c causes) Unwrap() []error { return c }
