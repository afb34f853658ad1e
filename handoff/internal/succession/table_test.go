package succession

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/protocol.md anew")

const protocol = "../../../docs/protocol.md"

// TestProtocolTable holds section 7 of docs/protocol.md to the tables: what stands between the markers is made from them.
// After a change, run go test -run TestProtocolTable -update.
func TestProtocolTable(t *testing.T) {
	b, err := os.ReadFile(protocol)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, side := range []struct{ name, text string }{
		{"successor", tableOf(sayings(t, "successor.go"), successorTable[:], successorNames[:], successorEventNames[:], said)},
		{"incumbent", tableOf(sayings(t, "incumbent.go"), incumbentTable[:], incumbentNames[:], incumbentEventNames[:], frames)},
	} {
		from, to := "<!-- the "+side.name+"'s table -->\n", "<!-- the end of the "+side.name+"'s table -->"
		before, rest, ok := strings.Cut(page, from)
		is, behind, ok2 := strings.Cut(rest, to)
		if !ok || !ok2 {
			t.Fatalf("%s has no block %q", protocol, from)
		}
		if is != side.text && !*update {
			t.Errorf("%s has another table of the %s than the code; run go test -run TestProtocolTable -update. The code's begins to differ at:\n%s",
				protocol, side.name, difference(is, side.text))
		}
		page = before + from + side.text + to + behind
	}
	if *update && page != string(b) {
		if err := os.WriteFile(protocol, []byte(page), 0o644); err != nil { //nolint:gosec // a page for everybody
			t.Fatal(err)
		}
	}
}

// difference is the first line of want that is another in is.
func difference(is, want string) string {
	lines := strings.Split(is, "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(lines) || lines[i] != line {
			return line
		}
	}
	return "its end"
}

// tableOf is a side in Markdown: what the events mean that are no frames, and for each state what it means and what follows.
func tableOf[S, E ~uint8](saying map[string]string, rows [][]row[S, E], states, events []string, frames []E) string {
	var b strings.Builder
	b.WriteString("\n| Event | Meaning |\n|---|---|\n")
	for e, name := range events {
		frame := false
		for _, f := range frames {
			frame = frame || int(f) == e
		}
		if text := saying[name]; !frame || text != name+"." {
			fmt.Fprintf(&b, "| %s | %s |\n", name, text)
		}
	}
	for s, rows := range rows {
		fmt.Fprintf(&b, "\n**%s.** %s\n", states[s], saying[states[s]])
		if len(rows) == 0 {
			continue
		}
		b.WriteString("\n| Event | Actions | Next |\n|---|---|---|\n")
		for _, r := range rows {
			var on, do []string
			for _, e := range r.on {
				on = append(on, events[e])
			}
			if len(on) == len(events) {
				on = []string{"any"}
			}
			for _, a := range r.do {
				do = append(do, a.String())
			}
			next := "**" + states[r.to] + "**"
			if int(r.to) == s {
				next = "the same"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(on, "; "), strings.Join(do, "; "), next)
		}
	}
	b.WriteString("\n")
	return b.String()
}

// sayings returns what the comments in file say of each state and event, by its name in the page. Names of the code in them
// become those of the page.
func sayings(t *testing.T, file string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments, names := map[string]string{}, map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			for _, s := range n.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && n.Tok == token.CONST && v.Doc != nil {
					comments[v.Names[0].Name] = strings.Join(strings.Fields(v.Doc.Text()), " ")
				}
			}
		case *ast.KeyValueExpr: // of the arrays of names
			key, ok := n.Key.(*ast.Ident)
			value, ok2 := n.Value.(*ast.BasicLit)
			if ok && ok2 {
				names[key.Name] = strings.Trim(value.Value, `"`)
			}
		}
		return true
	})
	word := regexp.MustCompile(`\b[A-Z][A-Za-z]+\b`)
	all := map[string]string{}
	for ident, comment := range comments {
		text, ok := strings.CutPrefix(comment, ident+": ")
		if !ok || text == "" {
			t.Errorf("%s: the comment of %s does not begin with its name", file, ident)
		}
		text = word.ReplaceAllStringFunc(text, func(w string) string {
			if name, ok := names[w]; ok && comments[w] != "" && strings.Contains(text, w) && w != "Close" && w != "Ready" && w != "Stop" {
				return name
			}
			return w
		})
		text = strings.ToUpper(text[:1]) + text[1:]
		all[names[ident]] = strings.ReplaceAll(text, "|", `\|`)
	}
	return all
}
