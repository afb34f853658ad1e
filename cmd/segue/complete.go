package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// This file completes arguments and the values of flags. The library completes the names of flags and commands.

// completeFlag sets what completes the value of a flag.
func completeFlag(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // there is no such flag: each test of a command sees it
	}
}

func completeSignals(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []string{"TERM", "QUIT", "INT", "HUP", "USR1", "USR2", "WINCH", "KILL"}, cobra.ShellCompDirectiveNoFileComp
}

// completePIDs names processes by their numbers, with their commands beside.
func completePIDs(_ *cobra.Command, _ []string, begun string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		if _, err := strconv.Atoi(pid); err != nil || !strings.HasPrefix(pid, begun) {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		all = append(all, cobra.CompletionWithDesc(pid, printable(strings.TrimSpace(string(name)))))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// completePath leaves one argument to the shell, which knows files.
func completePath(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// completeCommand names programs for the first word of COMMAND. The others are files, as far as this program knows.
func completeCommand(_ *cobra.Command, args []string, begun string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	if len(args) > 0 || begun == "" || strings.Contains(begun, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), begun) && !entry.IsDir() {
				all = append(all, entry.Name())
			}
		}
	}
	return all, cobra.ShellCompDirectiveDefault
}
