//go:build !linux

package main

var planted map[string]role
