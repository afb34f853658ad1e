package main

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		v    []float64
		q    float64
		want float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 2, 3}, 0.5, 2.5},
		{[]float64{5, 1, 2, 3, 4}, 0.25, 2},
		{[]float64{5, 1, 2, 3, 4}, 1, 5},
		{[]float64{5, 1}, 0, 1},
	} {
		if got := quantile(tt.v, tt.q); got != tt.want {
			t.Errorf("%v of %v: %v, want %v", tt.q, tt.v, got, tt.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing: %v", got)
	}
}

func TestCompared(t *testing.T) {
	ours, floor := []float64{10, 30}, []float64{20, 20}
	for by, want := range map[comparison][]float64{
		unrelated: {10, 30}, atLeast: {0.5, 1.5}, atMost: {0.5, 1.5}, difference: {-10, 10},
	} {
		f := figure{ours: ours, floor: floor, aim: aim{by: by}}
		if got := f.compared(); !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", by, got, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	most := aim{by: atMost, limit: 1.02}
	least := aim{by: atLeast, limit: 0.98}
	below := aim{by: unrelated, limit: 100}
	ones := []float64{1, 1, 1, 1}
	for name, tt := range map[string]struct {
		aim  aim
		ours []float64
		want string
	}{
		"at least, met":    {least, []float64{0.98, 0.98, 0.98, 0.98}, "met"},
		"at least, missed": {least, []float64{0.97, 0.97, 0.97, 0.97}, "MISSED"},
		"at least, noise":  {least, []float64{0.5, 0.9, 1, 1.4}, "too noisy to tell"},
		"at most, met":     {most, ones, "met"},
		"at most, below 1": {aim{by: atMost, limit: 0.5}, ones, "MISSED"},
		"at least, double": {aim{by: atLeast, limit: 2}, ones, "MISSED"},
		"at most, missed":  {most, []float64{1.1, 1.1, 1.1, 1.1}, "MISSED"},
		"below, met":       {below, []float64{10, 20, 30, 900}, "met"},
		"below, missed":    {below, []float64{150, 150, 151, 151}, "MISSED"},
		"below, noise":     {below, []float64{20, 20, 190, 200}, "too noisy to tell"},
	} {
		f := figure{unit: count, ours: tt.ours, floor: ones, aim: tt.aim}
		if got := f.verdict(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestUnits(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{nanoseconds(1234), "1.2 µs"},
		{nanoseconds(-123_456), "-123 µs"},
		{nanoseconds(5_000_000), "5.00 ms"},
		{perSecond(9_999), "9999/s"},
		{perSecond(12_345), "12.3k/s"},
		{count(0.125), "0.12"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	err := table(&b, []figure{
		{name: "fast", unit: perSecond, ours: []float64{99}, floor: []float64{100}, aim: aim{by: atLeast, limit: 0.98, text: "≥ 0.98"}},
		{name: "free", unit: count, ours: []float64{3}, floor: []float64{3}},
		{name: "often", unit: count, ours: []float64{1, 1, 1, 1, 1, 1, 1}, floor: make([]float64, 7)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"99/s", "100/s", "× 0.990", "≥ 0.98", "met", "free", "3.00", "7       1.00", "1.00 to 1.00"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &b)
		}
	}
}
