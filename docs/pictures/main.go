// Command pictures draws the pictures of the documents as SVG, into the directory in which
// it is started:
//
//	cd docs/pictures && go run .
//
// The pictures follow the color scheme of the reader.
package main

import (
	"fmt"
	"html"
	"log"
	"os"
	"strings"
)

func main() {
	for name, draw := range pictures {
		if err := os.WriteFile(name, []byte(draw()), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// pictures are the pictures by the names of their files.
var pictures = map[string]func() string{"parts.svg": parts, "refresh.svg": refresh, "session.svg": session, "key.svg": key}

// canvas collects the elements of one picture.
type canvas struct {
	strings.Builder
	width, height int
	title         string
}

const style = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}
.small{font-size:12px;fill:#57606a}
.bold{font-weight:600}
rect{fill:#f6f8fa;stroke:#8c959f}
rect.bar{fill:#0969da;stroke:none}
rect.pale{fill:#b6d7f7;stroke:none}
rect.bad{fill:#ffebe9;stroke:#cf222e}
path,line{stroke:#57606a;fill:none;stroke-width:1.4}
.life{stroke-dasharray:3 4;stroke:#8c959f}
marker path{fill:#57606a;stroke:none}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.small{fill:#9da7b3}
rect{fill:#161b22;stroke:#6e7681}
rect.bar{fill:#4493f8}
rect.pale{fill:#1f4a7d}
rect.bad{fill:#4b1113;stroke:#f85149}
path,line{stroke:#9da7b3}
.life{stroke:#6e7681}
marker path{fill:#9da7b3}
}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker></defs>
`

func newCanvas(width, height int, title string) *canvas {
	return &canvas{width: width, height: height, title: title}
}

// done returns the whole picture.
func (c *canvas) done() string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">
<title>%s</title>
%s%s</svg>
`, c.width, c.height, c.width, c.height, html.EscapeString(c.title), html.EscapeString(c.title), style, c.String())
}

func (c *canvas) text(x, y int, class, anchor, text string) {
	fmt.Fprintf(c, "<text x=\"%d\" y=\"%d\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y, class, anchor, html.EscapeString(text))
}

// box draws a box with a name and lines of smaller text below it.
func (c *canvas) box(x, y, width, height int, class, name string, lines ...string) {
	fmt.Fprintf(c, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\" class=\"%s\"/>\n", x, y, width, height, class)
	top := y + height/2 + 5 - 8*len(lines)
	c.text(x+width/2, top, "bold", "middle", name)
	for i, line := range lines {
		c.text(x+width/2, top+16*(i+1), "small", "middle", line)
	}
}

// arrow draws an arrow with a text above its middle.
func (c *canvas) arrow(x1, y1, x2, y2 int, text string) {
	fmt.Fprintf(c, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" marker-end=\"url(#tip)\"/>\n", x1, y1, x2, y2)
	if text != "" {
		c.text((x1+x2)/2, (y1+y2)/2-6, "small", "middle", text)
	}
}

// parts shows the parts of a service and who calls whom.
func parts() string {
	c := newCanvas(720, 330, "The parts of a service, and who calls whom")
	c.box(10, 130, 100, 60, "", "client")
	c.box(190, 20, 150, 60, "", "Middleware", "auth.Require(h)")
	c.box(190, 130, 150, 60, "", "your handlers", "login, refresh, logout")
	c.box(190, 250, 150, 60, "", "Ring as handler", "JWK Set")
	c.box(400, 20, 120, 60, "", "Verifier", "checks tokens")
	c.box(400, 130, 120, 60, "", "Issuer", "signs, ends")
	c.box(400, 250, 120, 60, "", "Ring", "keys and dates")
	c.box(590, 20, 120, 60, "", "revocations", "memory, Replica")
	c.box(590, 130, 120, 60, "", "session store", "one row a session")
	c.box(590, 250, 120, 60, "", "key source", "directory, KMS")
	c.arrow(110, 150, 190, 60, "")
	c.arrow(110, 160, 190, 160, "")
	c.arrow(340, 50, 400, 50, "")
	c.arrow(340, 160, 400, 160, "")
	c.arrow(340, 280, 400, 280, "")
	c.arrow(520, 50, 590, 50, "")
	c.arrow(520, 160, 590, 160, "")
	c.arrow(520, 145, 590, 70, "")
	c.arrow(520, 280, 590, 280, "")
	c.arrow(460, 190, 460, 250, "")
	fmt.Fprintln(c, `<path d="M440 80C370 120 370 210 415 250" marker-end="url(#tip)"/>`)
	c.text(100, 285, "small", "middle", "other services")
	c.arrow(145, 280, 190, 280, "")
	c.text(265, 105, "small", "middle", "h runs with a Token")
	return c.done()
}

// step is one message of a sequence.
type step struct {
	from, to int // lanes; equal means a note
	text     string
	bad      bool
}

func sequence(title string, lanes []string, steps []step) string {
	const lane, top, row = 200, 60, 34
	width := lane * len(lanes)
	c := newCanvas(width, top+row*(len(steps)+1), title)
	at := func(i int) int { return lane/2 + lane*i }
	for i, name := range lanes {
		fmt.Fprintf(c, "<line class=\"life\" x1=\"%d\" y1=\"44\" x2=\"%d\" y2=\"%d\"/>\n", at(i), at(i), c.height-10)
		c.box(at(i)-60, 10, 120, 34, "", name)
	}
	for i, s := range steps {
		y := top + row*(i+1)
		if s.from != s.to {
			c.arrow(at(s.from), y, at(s.to), y, s.text)
			continue
		}
		class := ""
		if s.bad {
			class = "bad"
		}
		w := 12 + 7*len(s.text)
		fmt.Fprintf(c, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"24\" rx=\"4\" class=\"%s\"/>\n", at(s.from)-w/2, y-17, w, class)
		c.text(at(s.from), y, "small", "middle", s.text)
	}
	return c.done()
}

// refresh shows rotation, a lost answer and a theft.
func refresh() string {
	return sequence("Rotation, a lost answer and a theft", []string{"client", "Issuer", "store", "thief"}, []step{
		{0, 1, "refresh token 1", false},
		{1, 2, "1 becomes 2", false},
		{1, 0, "access token, refresh token 2", false},
		{0, 1, "1 again: a second tab", false},
		{1, 2, "within 10 s, 2 not used yet", false},
		{1, 0, "access token, 2 once more", false},
		{0, 1, "1 an hour later: 2 was lost", false},
		{1, 2, "2 not used yet: 2 becomes 3", false},
		{1, 0, "access token, refresh token 3", false},
		{3, 1, "2, copied on its way", false},
		{1, 1, "2 is dead: reuse", true},
		{1, 2, "end the session, revoke it", false},
		{1, 3, "400 invalid_grant", false},
		{0, 1, "refresh token 3", false},
		{1, 0, "400 invalid_grant: log in again", false},
	})
}

// session shows the states of a session.
func session() string {
	c := newCanvas(720, 210, "The states of a session")
	c.box(10, 70, 110, 50, "", "login")
	c.box(250, 60, 160, 70, "", "live", "one row in the store")
	c.box(570, 20, 140, 60, "bad", "ended", "revoked at once")
	c.box(570, 130, 140, 60, "", "expired", "the row is removed")
	c.arrow(120, 95, 250, 95, "Issue")
	c.arrow(410, 85, 570, 50, "")
	c.text(480, 35, "small", "middle", "Logout, EndSession,")
	c.text(480, 51, "small", "middle", "or a stolen token: mark,")
	c.text(480, 67, "small", "middle", "revoke, delete")
	c.arrow(410, 105, 570, 160, "")
	c.text(470, 165, "small", "middle", "IdleTTL or SessionTTL is over")
	fmt.Fprintln(c, `<path d="M290 60C290 15 370 15 370 58" marker-end="url(#tip)"/>`)
	c.text(330, 18, "small", "middle", "Refresh")
	return c.done()
}

// key shows the life of two keys.
func key() string {
	c := newCanvas(720, 190, "The life of a key")
	rows := []struct {
		name                 string
		published, signs, to int
		access, refresh      int
	}{{"old key", 110, 110, 300, 400, 600}, {"new key", 200, 300, 700, 700, 700}}
	for i, r := range rows {
		y := 40 + 70*i
		c.text(10, y+16, "bold", "start", r.name)
		fmt.Fprintf(c, "<rect class=\"pale\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"24\"/>\n", r.published, y, r.refresh-r.published)
		fmt.Fprintf(c, "<rect class=\"bar\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"24\"/>\n", r.signs, y, r.to-r.signs)
		c.text(r.signs+20, y-6, "small", "start", "signs")
	}
	for _, date := range []struct {
		x    int
		name string
	}{{200, "Rotate"}, {300, "SignsFrom"}, {400, "AccessTo"}, {600, "RefreshTo"}} {
		fmt.Fprintf(c, "<line class=\"life\" x1=\"%d\" y1=\"20\" x2=\"%d\" y2=\"160\"/>\n", date.x, date.x)
		c.text(date.x, 176, "small", "middle", date.name)
	}
	c.text(350, 82, "small", "middle", "published")
	c.text(500, 82, "small", "middle", "accepted for refreshing")
	c.text(250, 152, "small", "middle", "published, waits")
	return c.done()
}
