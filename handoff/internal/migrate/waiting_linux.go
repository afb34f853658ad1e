package migrate

// Waiting counts the connections that came from another process, and that no server and no Take of this one has got yet.
func (c *Conns) Waiting() (parked, untaken int) { return c.lot.Parked(), c.gifts.left() }
