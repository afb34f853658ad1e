package decisions

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Packages are those whose tests keep decisions.
var Packages = []string{"handoff", "integration"}

// most is how many rows may be without a test: one in so many.
const most = 10

// sometimes begins the reason of a row that some runs go through and others do not.
const sometimes = "not always: "

// Judge compares what the tests in dir went through with the table, and with the file of rows that are known to be missing. It writes
// how many there are to w. Without the marks of Whole for all Packages it does not judge.
func Judge(w io.Writer, table Table, missing, dir string) error {
	listed, err := readMissing(table, missing)
	if err != nil {
		return err
	}
	seen := map[Row]bool{}
	var errs []error
	for _, pkg := range Packages {
		if _, err := os.Stat(filepath.Join(dir, pkg+whole)); errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(w, "not all tests of %s have run and passed: whether each row of the tables is gone through is not judged\n", pkg)
			return nil
		}
		decisions, err := kept(dir, pkg)
		if err != nil {
			return err
		}
		rows := map[Row]bool{}
		for _, d := range decisions {
			r, err := table.RowOf(d)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			rows[r], seen[r] = true, true
		}
		fmt.Fprintf(w, "the tests of %s went through %d of %d rows\n", pkg, len(rows), len(table))
	}
	var unseen []Row
	for _, r := range sorted(table) {
		reason, ok := listed[r]
		switch {
		case !seen[r] && !ok:
			unseen = append(unseen, r)
			errs = append(errs, fmt.Errorf("no test went through %s: write one, or list it in %s with the reason", r, missing))
		case !seen[r]:
			unseen = append(unseen, r)
		case ok && !strings.HasPrefix(reason, sometimes):
			errs = append(errs, fmt.Errorf("a test went through %s: take it out of %s", r, missing))
		}
	}
	fmt.Fprintf(w, "%d rows are missing; %d are listed, of which at most %d may be\n", len(unseen), len(listed), len(table)/most)
	if len(listed) > len(table)/most {
		errs = append(errs, fmt.Errorf("%s lists %d rows, which is more than one in %d of %d", missing, len(listed), most, len(table)))
	}
	return errors.Join(errs...)
}

// readMissing reads lines of side | state | event | reason. Lines that begin with # are comments.
func readMissing(table Table, file string) (map[Row]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	listed := map[Row]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		w := strings.SplitN(line, " | ", 4)
		if len(w) != 4 {
			return nil, fmt.Errorf("%s: %q is not side | state | event | reason", file, line)
		}
		r := Row{w[0], w[1], w[2]}
		if _, ok := table[r]; !ok {
			return nil, fmt.Errorf("%s: %s is no row of the tables", file, r)
		}
		if _, ok := listed[r]; ok {
			return nil, fmt.Errorf("%s: %s is there twice", file, r)
		}
		listed[r] = w[3]
	}
	return listed, nil
}

func sorted(table Table) []Row {
	return slices.SortedFunc(maps.Keys(table), func(a, b Row) int { return cmp.Compare(a.String(), b.String()) })
}
