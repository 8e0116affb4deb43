//go:build !models

package main

var models map[string]maker
