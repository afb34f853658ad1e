// Package reaper is what a process does that is process 1 of a PID namespace for others: it starts one, passes signals on,
// reaps orphans, and ends when nobody is left to serve. Linux only.
package reaper
