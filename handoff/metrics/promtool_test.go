package metrics

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/segue-go/segue/handoff/timeline"
)

// pages is where the rules and the dashboard are.
const pages = "../../docs/prometheus"

// promtool runs it, or skips the test where it is not installed.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("promtool is not installed; for example: apt-get install prometheus")
		}
		t.Skip("needs promtool; for example: apt-get install prometheus")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir, cmd.Stdin = pages, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

func TestPromtool(t *testing.T) {
	t.Run("metrics", func(t *testing.T) {
		promtool(t, page(t, &chainOf{chain: serving(timeline.Generation{Phase: timeline.PhaseServing})}), "check", "metrics")
	})
	t.Run("rules", func(t *testing.T) { promtool(t, "", "check", "rules", "alerts.yml") })
	t.Run("alerts", func(t *testing.T) { promtool(t, "", "test", "rules", "alerts_test.yml") })
}

// The rules and the dashboard ask for metrics that there are, by labels that they have.
func TestPagesNameMetrics(t *testing.T) {
	labels := map[string][]string{}
	ch := make(chan *prometheus.Desc, 100)
	New(nil).Describe(ch)
	close(ch)
	described := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([\w,]*)\}`)
	for d := range ch {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %v", d)
		}
		labels[m[1]] = append(strings.Split(m[2], ","), "job", "instance", "le")
	}

	b, err := os.ReadFile(pages + "/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Definition string } }
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			asked = append(asked, target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		asked = append(asked, v.Definition)
	}
	rules, err := os.ReadFile(pages + "/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	asked = append(asked, string(rules))

	metric := regexp.MustCompile(`(segue_\w+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)=`)
	found := 0
	for _, expr := range asked {
		for _, m := range metric.FindAllStringSubmatch(expr, -1) {
			found++
			name := m[1]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			has, ok := labels[name]
			if !ok {
				t.Errorf("there is no metric %s", m[1])
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(","+strings.Join(has, ",")+",", ","+l[1]+",") {
					t.Errorf("%s has no label %s", m[1], l[1])
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d uses of metrics found", found)
	}
}
