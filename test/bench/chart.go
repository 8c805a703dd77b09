package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// bar is one library in a panel of the chart.
type bar struct {
	name  string
	ratio float64 // to the primitive
}

// The measures of the chart, in pixels.
const (
	panelWidth = 440
	labelWidth = 180
	valueWidth = 70
	barHeight  = 18
	panelTop   = 50
	panelGap   = 26
)

// chart draws four panels: verifying and middleware, HS256 and ES256. Bars are as
// long as the logarithm of the ratio to the primitive, which a line marks; they
// begin there, or before the shortest where one is less. There is no background,
// and the colours can be read on white and on black: an image does not know the
// theme of the page that shows it.
func (r *results) chart() string {
	var b strings.Builder
	var heights [2]int
	var panels [4][]bar
	titles := [4]string{"verify, HS256", "verify, ES256", "middleware, HS256", "middleware, ES256"}
	for i, group := range []string{"verify/HS256", "verify/ES256", "middleware/HS256", "middleware/ES256"} {
		panels[i] = bars(r.groups[group])
		heights[i/2] = max(heights[i/2], panelTop+len(panels[i])*(barHeight+4))
	}
	width, height := 2*panelWidth+panelGap, heights[0]+heights[1]+panelGap+4
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`, width, height, width, height,
		"Bars for each library: how many times the primitive of the standard library it takes, on a logarithmic scale")
	b.WriteString(`<style>text{font:12px system-ui,sans-serif;fill:#768390}.title{font-weight:600;font-size:14px}.ours{font-weight:600}` +
		`.peer{fill:#8c959f}.own{fill:#2da44e}.axis{stroke:#768390}</style>`)
	for i, list := range panels {
		x, y := i%2*(panelWidth+panelGap), i/2*(heights[0]+panelGap)
		drawPanel(&b, titles[i], list, x, y)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// bars are the libraries of a group, the fastest first.
func bars(m *measured) (list []bar) {
	if m == nil {
		return nil
	}
	for _, c := range m.Cells {
		if strings.HasPrefix(c, ours) || isPeer(c) {
			list = append(list, bar{c, m.ratio(c, raw)})
		}
	}
	slices.SortFunc(list, func(a, b bar) int { return cmp.Compare(a.ratio, b.ratio) })
	return list
}

func drawPanel(b *strings.Builder, title string, list []bar, x, y int) {
	fmt.Fprintf(b, `<text class="title" x="%d" y="%d">%s</text>`, x, y+16, html.EscapeString(title))
	fmt.Fprintf(b, `<text x="%d" y="%d">times the primitive, logarithmic; shorter is faster</text>`, x, y+34)
	low, high := span(list)
	at := func(ratio float64) float64 {
		return float64(x+labelWidth) + float64(panelWidth-labelWidth-valueWidth)*(math.Log(ratio)-low)/(high-low)
	}
	for i, bar := range list {
		top := y + panelTop + i*(barHeight+4)
		text, fill := "", "peer"
		if strings.HasPrefix(bar.name, ours) {
			text, fill = "ours", "own"
		}
		from, to := float64(x+labelWidth), at(bar.ratio)
		fmt.Fprintf(b, `<text class="%s" x="%d" y="%d" text-anchor="end">%s</text>`, text, x+labelWidth-6, top+13, html.EscapeString(bar.name))
		fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d" rx="2"/>`, fill, from, top, max(to-from, 1), barHeight)
		fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%d">%s</text>`, text, to+5, top+13, times(bar.ratio))
	}
	fmt.Fprintf(b, `<line class="axis" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, at(1), y+panelTop-4, at(1), y+panelTop+len(list)*(barHeight+4))
}

// span is the range of the logarithms, with the primitive in it. Where one is less
// than that, there is room before it, so that it has a bar as well.
func span(list []bar) (low, high float64) {
	for _, bar := range list {
		low, high = min(low, math.Log(bar.ratio)-math.Ln2), max(high, math.Log(bar.ratio))
	}
	if low > -math.Ln2 {
		low = 0
	}
	if high == low {
		high++
	}
	return low, high
}
