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
	ratio float64 // the library's time divided by the primitive's
}

// The sizes of the parts of the chart, in pixels.
const (
	panelWidth = 440
	labelWidth = 180
	valueWidth = 70
	barHeight  = 18
	panelTop   = 50
	panelGap   = 26
)

// chart returns an SVG image with four panels: verifying and middleware, each with HS256
// and ES256. The scale is logarithmic, and a line marks the ratio 1, the time of the
// primitive. Bars begin at that line. If a ratio is below 1, all bars begin at the left
// edge instead. The image has no background, and its colours are readable on white and on
// black, because an image does not know the theme of the page around it.
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

// bars returns the bars of the libraries in a group, the fastest first.
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

// span returns the range of the logarithms of the ratios. The range contains 0, the logarithm of
// the primitive's ratio. If a ratio is below 1, the range begins below the logarithm of the
// smallest ratio, so that its bar is visible.
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
