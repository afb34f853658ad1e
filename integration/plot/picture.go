package main

import (
	"fmt"
	"image/color"
	"io"
	"os"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// dpi is the resolution of a PNG.
const dpi = 120

var (
	red   = color.NRGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff} // what failed, nothing else
	ink   = color.NRGBA{R: 0x22, G: 0x22, B: 0x22, A: 0xff}
	grey  = color.NRGBA{R: 0x99, G: 0x99, B: 0x99, A: 0xff}
	white = color.NRGBA{R: 0xff, G: 0xff, B: 0xff, A: 0xff}
)

// picture is what is drawn, in either format.
type picture struct {
	w, h vg.Length
	draw func(draw.Canvas)
}

// save writes it, in the format that the name says.
func (p *picture) save(name string) error {
	var c interface {
		vg.CanvasSizer
		io.WriterTo
	}
	if strings.HasSuffix(name, ".svg") {
		c = vgsvg.New(p.w, p.h)
	} else {
		c = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(p.w, p.h), vgimg.UseDPI(dpi))}
	}
	dc := draw.New(c)
	dc.FillPolygon(white, []vg.Point{{}, {X: p.w}, {X: p.w, Y: p.h}, {Y: p.h}})
	p.draw(dc)
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	_, err = c.WriteTo(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	return nil
}

// style is that of a text.
func style(size vg.Length, c color.Color, x text.XAlignment, y text.YAlignment) text.Style {
	return text.Style{
		Color: c, Font: font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size), Handler: plot.DefaultTextHandler,
		XAlign: x, YAlign: y,
	}
}

// newPlot makes one in the fonts and colours of all pictures.
func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle = style(11, ink, draw.XCenter, draw.YBottom)
		a.Label.Padding = 4
		a.Tick.Label = style(10, ink, draw.XCenter, draw.YTop)
		a.LineStyle.Color, a.Tick.LineStyle.Color = grey, grey
		a.Padding = 0
	}
	p.Y.Tick.Label.XAlign, p.Y.Tick.Label.YAlign = draw.XRight, draw.YCenter
	p.Title.TextStyle = style(12, ink, draw.XCenter, draw.YTop)
	p.Title.Padding = 5
	return p
}

// painter is what a plot draws of its own.
type painter func(c draw.Canvas, p *plot.Plot)

// Plot implements plot.Plotter.
func (f painter) Plot(c draw.Canvas, p *plot.Plot) { f(c, p) }

// stack draws plots one below the other, so that their x axes lie above each other. The heights are shares.
func stack(c draw.Canvas, gap vg.Length, plots []*plot.Plot, heights []float64) {
	var sum float64
	for _, h := range heights {
		sum += h
	}
	whole := c.Max.Y - c.Min.Y - gap*vg.Length(len(plots)-1)
	cells := make([]draw.Canvas, len(plots))
	top := c.Max.Y
	var left, right vg.Length
	for i, p := range plots {
		bottom := top - whole*vg.Length(heights[i]/sum)
		cells[i] = c
		cells[i].Max.Y, cells[i].Min.Y = top, bottom
		top = bottom - gap
		data := p.DataCanvas(cells[i])
		left = max(left, data.Min.X-c.Min.X)
		right = max(right, c.Max.X-data.Max.X)
	}
	for i, p := range plots {
		data := p.DataCanvas(cells[i])
		p.Draw(draw.Crop(cells[i], left-(data.Min.X-c.Min.X), (c.Max.X-data.Max.X)-right, 0, 0))
	}
}

// rectangle adds one to a path.
func rectangle(path *vg.Path, x0, y0, x1, y1 vg.Length) {
	path.Move(vg.Point{X: x0, Y: y0})
	path.Line(vg.Point{X: x1, Y: y0})
	path.Line(vg.Point{X: x1, Y: y1})
	path.Line(vg.Point{X: x0, Y: y1})
	path.Close()
}

// count writes a number with its thousands set apart, and what is counted.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes a number with its thousands set apart.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
