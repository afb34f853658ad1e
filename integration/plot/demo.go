package main

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"github.com/segue-go/segue/integration/measured"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// ages are the colours of generations, one after the other; none of them is like red.
var ages = []color.NRGBA{
	{R: 0x4e, G: 0x79, B: 0xa7, A: 0xff}, {R: 0xf2, G: 0x8e, B: 0x2b, A: 0xff}, {R: 0x59, G: 0xa1, B: 0x4f, A: 0xff},
	{R: 0xb0, G: 0x7a, B: 0xa1, A: 0xff}, {R: 0x56, G: 0xb4, B: 0xc4, A: 0xff}, {R: 0xd4, G: 0xb1, B: 0x2c, A: 0xff},
}

// colourOf returns the colour of a generation; number 0 is one that failed, or nobody knows which.
func colourOf(number int) color.NRGBA {
	if number == 0 {
		return red
	}
	return ages[(number-1)%len(ages)]
}

// binned is the width of a bin of requests, in seconds.
const binned = 0.25

// drawDemo draws one run of the demo.
func drawDemo(m *measured.Demo) *picture {
	return &picture{w: 11.5 * vg.Inch, h: 8.6 * vg.Inch, draw: func(c draw.Canvas) {
		c = draw.Crop(c, 10, -14, 8, -10)
		c.FillText(style(16, ink, draw.XCenter, draw.YTop), vg.Point{X: c.Center().X, Y: c.Max.Y}, headline(m))
		c.Max.Y -= 25
		legend(c, m)
		c.Max.Y -= 20
		plots := []*plot.Plot{events(m), rates(m), latencies(m), connections(m)}
		for _, p := range plots {
			p.X.Min, p.X.Max = 0, m.Seconds
			p.X.Tick.Marker = plot.TickerFunc(seconds)
		}
		for _, p := range plots[:len(plots)-1] {
			p.X.Tick.Label.Color = color.Transparent
			p.X.Tick.Label.Font.Size = 0.1
		}
		plots[len(plots)-1].X.Label.Text = "seconds since the load began"
		stack(c, 7, plots, []float64{0.6, 2.1, 2.4, 3.4})
	}}
}

// headline says what came of it.
func headline(m *measured.Demo) string {
	upgrades, faults, failed, all, lost := 0, 0, 0, 0, 0
	for _, e := range m.Events {
		if e.Failed {
			faults++
		} else {
			upgrades++
		}
	}
	for _, f := range m.Failures {
		if !f.Excused {
			failed++
		}
	}
	for _, l := range m.Lasting {
		all, lost = all+l.Connections, lost+l.Lost
	}
	return fmt.Sprintf("%s and %s: %d of %s requests failed, %d of %s lasting connections lost",
		count(upgrades, "upgrade", "upgrades"), count(faults, "failed successor", "failed successors"), failed,
		thousands(len(m.Requests)+len(m.Failures)), lost, thousands(all))
}

// seconds are the ticks of the time.
func seconds(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for t := math.Ceil(lo); t <= hi; t++ {
		tick := plot.Tick{Value: t}
		if math.Mod(t, 5) == 0 {
			tick.Label = fmt.Sprintf("%.0f s", t)
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// legend says what the signs are.
func legend(c draw.Canvas, m *measured.Demo) {
	x, y := c.Min.X+40, c.Max.Y-7
	say := func(s string) {
		st := style(11, ink, draw.XLeft, draw.YCenter)
		c.FillText(st, vg.Point{X: x, Y: y}, s)
		x += st.Width(s) + 22
	}
	for n := range ages {
		c.FillPolygon(ages[n], []vg.Point{{X: x, Y: y - 5}, {X: x + 8, Y: y - 5}, {X: x + 8, Y: y + 5}, {X: x, Y: y + 5}})
		x += 8
	}
	x += 5
	say("a colour is one process (generation)")
	upgradeSign(c, vg.Point{X: x + 4, Y: y})
	x += 13
	say("upgrade")
	failedSign(c, vg.Point{X: x + 4, Y: y})
	x += 13
	say("failed successor")
	excused := 0
	for _, f := range m.Failures {
		if f.Excused {
			excused++
		}
	}
	if len(m.Failures) > 0 {
		failureSign(c, vg.Point{X: x + 4, Y: y})
		x += 13
		if excused == len(m.Failures) {
			say(count(excused, "request", "requests") + " that died with the successor that had accepted them")
		} else {
			say(fmt.Sprintf("failed request; %d died with the successor", excused))
		}
	}
}

func upgradeSign(c draw.Canvas, at vg.Point) {
	c.FillPolygon(ink, []vg.Point{{X: at.X - 4, Y: at.Y + 4}, {X: at.X + 4, Y: at.Y + 4}, {X: at.X, Y: at.Y - 4}})
}

func failedSign(c draw.Canvas, at vg.Point) {
	line := draw.LineStyle{Color: red, Width: 2}
	c.StrokeLine2(line, at.X-4, at.Y-4, at.X+4, at.Y+4)
	c.StrokeLine2(line, at.X-4, at.Y+4, at.X+4, at.Y-4)
}

func failureSign(c draw.Canvas, at vg.Point) {
	var path vg.Path
	path.Move(vg.Point{X: at.X + 3.5, Y: at.Y})
	path.Arc(at, 3.5, 0, 2*math.Pi)
	c.SetLineWidth(1.3)
	c.SetColor(red)
	c.Stroke(path)
}

// verticals draws a line for each event through a plot.
func verticals(m *measured.Demo) painter {
	return func(c draw.Canvas, p *plot.Plot) {
		x, _ := p.Transforms(&c)
		for _, e := range m.Events {
			line := draw.LineStyle{Color: grey, Width: 0.6, Dashes: []vg.Length{3, 2}}
			if e.Failed {
				line.Color = red
			}
			c.StrokeLine2(line, x(e.At), c.Min.Y, x(e.At), c.Max.Y)
		}
	}
}

// hide leaves only the data of an axis that needs no words.
func hide(a *plot.Axis) {
	a.Tick.Marker = plot.ConstantTicks(nil)
	a.LineStyle.Width = 0
}

// events is the strip of signs above all.
func events(m *measured.Demo) *plot.Plot {
	p := newPlot()
	p.Y.Min, p.Y.Max = 0, 1
	hide(&p.Y)
	p.X.LineStyle.Width, p.X.Tick.LineStyle.Width = 0, 0
	p.Add(painter(func(c draw.Canvas, p *plot.Plot) {
		x, _ := p.Transforms(&c)
		low := c.Min.Y + 5
		var free [2]vg.Length // where the words of the last event end, in each row
		for _, e := range m.Events {
			at := vg.Point{X: x(e.At), Y: low}
			if !e.Failed {
				upgradeSign(c, at)
				continue
			}
			failedSign(c, at)
			if e.Until > e.At {
				c.StrokeLine2(draw.LineStyle{Color: red, Width: 2}, x(e.At), low, x(e.Until), low)
			}
			st := style(10, red, draw.XCenter, draw.YBottom)
			half := st.Width(e.Label) / 2
			word := vg.Point{X: min(at.X, c.Max.X-half), Y: low + 7}
			row := 0
			if word.X-half < free[0] {
				row = 1
				word.Y += 13
			}
			free[row] = word.X + half + 8
			c.FillText(st, word, e.Label)
		}
	}))
	return p
}

// rates are the requests a second, one generation above the other.
func rates(m *measured.Demo) *plot.Plot {
	bins := int(m.Seconds/binned) + 1
	counts := make([][]float64, len(m.Generations))
	for g := range counts {
		counts[g] = make([]float64, bins)
	}
	highest := 0.0
	total := make([]float64, bins)
	for _, r := range m.Requests {
		b := int(r.At / binned)
		if r.Generation < 0 || b < 0 || b >= bins {
			continue
		}
		counts[r.Generation][b] += 1 / binned
		total[b] += 1 / binned
		highest = max(highest, total[b])
	}
	p := newPlot()
	p.Y.Label.Text = "requests a second"
	p.Y.Min, p.Y.Max = 0, highest*1.2
	p.Y.Tick.Marker = few{}
	p.Add(painter(func(c draw.Canvas, p *plot.Plot) {
		x, y := p.Transforms(&c)
		base := make([]float64, bins)
		for g, gen := range m.Generations {
			var path vg.Path
			for b, n := range counts[g] {
				if n > 0 {
					rectangle(&path, x(float64(b)*binned), y(base[b]), x(min(float64(b+1)*binned, m.Seconds)), y(base[b]+n))
					base[b] += n
				}
			}
			c.SetColor(colourOf(gen.Number))
			c.Fill(path)
		}
	}), verticals(m), painter(func(c draw.Canvas, p *plot.Plot) {
		x, _ := p.Transforms(&c)
		for g, gen := range m.Generations {
			if gen.Failed {
				continue
			}
			from, to := reign(m, g)
			s := fmt.Sprint(gen.Number)
			if x(to)-x(from) > 70 {
				s = "generation " + s
			}
			c.FillText(style(10, ink, draw.XCenter, draw.YTop), vg.Point{X: (x(from) + x(to)) / 2, Y: c.Max.Y - 2}, s)
		}
	}))
	return p
}

// reign returns from when until when the g-th generation was the newest: from its upgrade to the next.
func reign(m *measured.Demo, g int) (from, to float64) {
	var upgrades []float64
	for _, e := range m.Events {
		if !e.Failed {
			upgrades = append(upgrades, e.At)
		}
	}
	slices.Sort(upgrades)
	to = m.Seconds
	if g > 0 && g <= len(upgrades) {
		from = upgrades[g-1]
	}
	if g < len(upgrades) {
		to = upgrades[g]
	}
	return from, to
}

// few are the ticks of a plot that is not high.
type few struct{}

// Ticks implements plot.Ticker.
func (few) Ticks(lo, hi float64) []plot.Tick {
	step := 1.0
	for n := 0; hi/step > 4; n++ {
		step *= []float64{2, 2.5, 2}[n%3]
	}
	var ticks []plot.Tick
	for v := lo; v <= hi; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: thousands(int(v))})
	}
	return ticks
}

// latencies are a dot for each request. Dots that would lie upon each other are drawn once.
func latencies(m *measured.Demo) *plot.Plot {
	p := newPlot()
	p.Y.Label.Text = "latency"
	p.Y.Scale = plot.LogScale{}
	p.Y.Min, p.Y.Max = 0.1e-3, 1e-3
	for _, r := range m.Requests {
		p.Y.Max = max(p.Y.Max, r.Latency*1.5)
	}
	p.Y.Tick.Marker = plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		var ticks []plot.Tick
		for unit := 0.1e-3; unit < hi*1.01; unit *= 10 {
			for n := 1.0; n < 10 && unit*n < hi*1.01; n++ {
				tick := plot.Tick{Value: unit * n}
				if n == 1 {
					tick.Label = latency(unit)
				}
				ticks = append(ticks, tick)
			}
		}
		return ticks
	})
	const dot = 1.3 // points
	p.Add(verticals(m), painter(func(c draw.Canvas, p *plot.Plot) {
		x, y := p.Transforms(&c)
		seen := map[[2]int]bool{}
		paths := make([]vg.Path, len(m.Generations))
		for _, r := range m.Requests {
			if r.Generation < 0 {
				continue
			}
			px, py := x(r.At), y(max(r.Latency, p.Y.Min))
			cell := [2]int{int(px / dot), int(py / dot)}
			if !seen[cell] {
				seen[cell] = true
				at := vg.Point{X: vg.Length(cell[0]) * dot, Y: vg.Length(cell[1]) * dot}
				rectangle(&paths[r.Generation], at.X, at.Y, at.X+dot, at.Y+dot)
			}
		}
		for g, gen := range m.Generations {
			if len(paths[g]) > 0 {
				c.SetColor(colourOf(gen.Number))
				c.Fill(paths[g])
			}
		}
		for _, f := range m.Failures {
			failureSign(c, vg.Point{X: x(f.At), Y: c.Max.Y - 8})
		}
	}))
	return p
}

// latency writes a power of ten of seconds.
func latency(s float64) string {
	if s >= 0.999 {
		return fmt.Sprintf("%.3g s", s)
	}
	return fmt.Sprintf("%.3g ms", s*1e3)
}

// connections are a line for each of some connections that live through all.
func connections(m *measured.Demo) *plot.Plot {
	p := newPlot()
	p.Y.Label.Text = "connections that stay"
	p.Y.Min, p.Y.Max = 0, float64(len(m.Lines)+2*len(m.Lasting))
	height := map[int]float64{} // of each line
	var ticks []plot.Tick
	at := p.Y.Max
	for _, l := range m.Lasting {
		at -= 1
		from, n := at, 0
		for i, line := range m.Lines {
			if line.Kind == l.Kind {
				at--
				n++
				height[i] = at + 0.5
			}
		}
		words := fmt.Sprintf("%d of %s\n%s,\n%d lost", n, thousands(l.Connections), kindWords[l.Kind], l.Lost)
		ticks = append(ticks, plot.Tick{Value: (from + at) / 2, Label: words})
		at -= 1
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.Y.Tick.LineStyle.Width = 0
	p.Add(verticals(m), painter(func(c draw.Canvas, p *plot.Plot) {
		x, y := p.Transforms(&c)
		for i, l := range m.Lines {
			h := y(height[i])
			idle := l.Kind == "idle"
			if idle {
				c.StrokeLine2(draw.LineStyle{Color: grey, Width: 1.2}, x(l.From), h, x(l.To), h)
			}
			for n, s := range l.Served {
				if idle {
					var path vg.Path
					path.Move(vg.Point{X: x(s.At) + 3, Y: h})
					path.Arc(vg.Point{X: x(s.At), Y: h}, 3, 0, 2*math.Pi)
					c.SetColor(colourOf(s.Generation))
					c.Fill(path)
					continue
				}
				to := l.To
				if n+1 < len(l.Served) {
					to = l.Served[n+1].At
				}
				from := s.At
				if n == 0 {
					from = l.From
				}
				c.StrokeLine2(draw.LineStyle{Color: colourOf(s.Generation), Width: 3.2}, x(from), h, x(to), h)
			}
			for _, b := range l.Breaks {
				failedSign(c, vg.Point{X: x(b), Y: h})
			}
		}
	}))
	return p
}

// kindWords say what connections of a kind do.
var kindWords = map[string]string{"kept": "in use", "idle": "idle (a dot\nis a request)", "chat": "chat users"}
