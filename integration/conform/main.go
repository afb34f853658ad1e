// Command conform says which rows of the tables in docs/protocol.md, section 7, no test went through. It belongs to make test, which
// runs the tests with SEGUE_DECISIONS set to a directory, and conform afterwards, at the root of the repository.
package main

import (
	"fmt"
	"os"

	"github.com/segue-go/segue/integration/decisions"
)

func main() {
	table, err := decisions.Read("docs/protocol.md")
	if err == nil {
		err = decisions.Judge(os.Stdout, table, "integration/decisions/testdata/missing.txt", os.Getenv(decisions.Env))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
