package main

import (
	"fmt"
	"image/color"
	"math"

	"github.com/segue-go/segue/integration/measured"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// green is nothing lost.
var green = color.NRGBA{R: 0x2c, G: 0x8a, B: 0x3c, A: 0xff}

// losses is a column of the picture: one figure of each server.
type losses struct {
	head, below string
	colour      color.NRGBA
	value       func(*measured.Peer) float64
	ticks       []float64
	words       func(float64) string
}

// drawPeers draws one run of the comparison: a row for each server, a column for each figure.
func drawPeers(m *measured.Peers) *picture {
	number := func(v float64) string { return thousands(int(v)) }
	powers := []float64{10, 100, 1000, 10_000, 100_000}
	columns := []losses{
		{"failed requests", "no answer", red, func(p *measured.Peer) float64 { return float64(p.Failed) }, powers, number},
		{"forced reconnects", fmt.Sprintf("of %d connections in use", m.Kept), red,
			func(p *measured.Peer) float64 { return float64(p.Forced) }, powers, number},
		{"idle connections lost", fmt.Sprintf("%d at a time", m.Idle), red,
			func(p *measured.Peer) float64 { return float64(p.IdleLost) }, powers, number},
		{"longest wait", "for an answer", grey, func(p *measured.Peer) float64 { return p.Longest * 1000 }, []float64{100, 1000, 10_000, 100_000},
			func(ms float64) string {
				if ms < 1000 {
					return fmt.Sprintf("%.0f ms", ms)
				}
				return fmt.Sprintf("%.3g s", ms/1000)
			}},
	}
	height := 120 + 42*vg.Length(len(m.Peers))
	return &picture{w: 11.5 * vg.Inch, h: height, draw: func(c draw.Canvas) {
		c = draw.Crop(c, 14, -14, 8, -12)
		c.FillText(style(16, ink, draw.XCenter, draw.YTop), vg.Point{X: c.Center().X, Y: c.Max.Y},
			fmt.Sprintf("What clients lose in %s of the same server under the same load", count(m.Upgrades, "upgrade", "upgrades")))
		c.FillText(style(11, ink, draw.XCenter, draw.YTop), vg.Point{X: c.Center().X, Y: c.Max.Y - 22},
			fmt.Sprintf("%d clients make a connection for each request, %d keep one in use, %d keep an idle one. They never retry. Scales are logarithmic.",
				m.Fresh, m.Kept, m.Idle))
		c.Max.Y -= 42
		c.FillText(style(12, ink, draw.XLeft, draw.YTop), vg.Point{X: c.Min.X, Y: c.Max.Y}, "server")
		c.FillText(style(9.5, grey, draw.XLeft, draw.YTop), vg.Point{X: c.Min.X, Y: c.Max.Y - 16}, "what it promises")
		const names, gap = 172, 16
		width := (c.Max.X - c.Min.X - names - gap*vg.Length(len(columns)-1)) / vg.Length(len(columns))
		var rows draw.Canvas
		for n, l := range columns {
			cell := c
			cell.Min.X = c.Min.X + names + (width+gap)*vg.Length(n)
			cell.Max.X = cell.Min.X + width
			cell.Max.Y -= 34
			middle := (cell.Min.X + cell.Max.X) / 2
			c.FillText(style(12, ink, draw.XCenter, draw.YTop), vg.Point{X: middle, Y: c.Max.Y}, l.head)
			c.FillText(style(9.5, grey, draw.XCenter, draw.YTop), vg.Point{X: middle, Y: c.Max.Y - 16}, l.below)
			p := column(m, l)
			rows = p.DataCanvas(cell)
			p.Draw(cell)
		}
		for n, p := range m.Peers {
			y := rows.Max.Y - (rows.Max.Y-rows.Min.Y)*vg.Length((float64(n)+0.5)/float64(len(m.Peers)))
			name := p.Name
			if p.Version != "" {
				name += " " + p.Version
			}
			c.FillText(style(12, ink, draw.XLeft, draw.YBottom), vg.Point{X: c.Min.X, Y: y}, name)
			c.FillText(style(9.5, grey, draw.XLeft, draw.YTop), vg.Point{X: c.Min.X, Y: y - 2}, p.Promises)
		}
	}}
}

// column is a plot of one figure.
func column(m *measured.Peers, l losses) *plot.Plot {
	scale := func(v float64) float64 { return math.Log10(1 + v) } // 0 is at 0
	p := newPlot()
	p.Y.Min, p.Y.Max = 0, float64(len(m.Peers))
	hide(&p.Y)
	highest := 9.0
	for _, peer := range m.Peers {
		highest = max(highest, l.value(&peer))
	}
	p.X.Min, p.X.Max = 0, scale(highest)*1.42 // what is beyond the highest is for words
	ticks := []plot.Tick{{Value: 0, Label: "0"}}
	for n, t := range l.ticks {
		if t <= highest && (highest < 10_000 || n%2 == 0) { // more have no room
			ticks = append(ticks, plot.Tick{Value: scale(t), Label: l.words(t)})
		}
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	p.X.Tick.Label.Font.Size = 9
	p.Add(painter(func(c draw.Canvas, p *plot.Plot) {
		x, y := p.Transforms(&c)
		c.StrokeLine2(draw.LineStyle{Color: grey, Width: 0.8}, x(0), c.Min.Y, x(0), c.Max.Y)
		for n, peer := range m.Peers {
			v := l.value(&peer)
			middle := p.Y.Max - float64(n) - 0.5
			var path vg.Path
			rectangle(&path, x(0), y(middle-0.26), x(scale(v)), y(middle+0.26))
			c.SetColor(l.colour)
			c.Fill(path)
			st := style(11, ink, draw.XLeft, draw.YCenter)
			if v == 0 {
				st = style(14, green, draw.XLeft, draw.YCenter)
			}
			c.FillText(st, vg.Point{X: x(scale(v)) + 4, Y: y(middle)}, l.words(v))
		}
	}))
	return p
}
