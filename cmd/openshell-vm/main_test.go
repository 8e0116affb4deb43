package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"openshell-vm/cmd/openshell-vm/say"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){say.Program: main})
}

// patience bounds one wait for something to happen. It is generous: nothing here
// promises speed, and other tests keep the machine busy.
const patience = 2 * time.Minute

// noExitDelay spares each of many short runs the race detector's second at exit.
const noExitDelay = "atexit_sleep_ms=0"

// TestScripts runs the CLI as users do, each script against a gateway of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", noExitDelay)
			for _, kv := range serve(t, env.WorkDir) {
				name, value, _ := strings.Cut(kv, "=")
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// vm CODE ARG...: runs the CLI and wants this exit code.
			"vm": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) == 0 {
					ts.Fatalf("usage: vm CODE ARG...")
				}
				err := ts.Exec(say.Program, args[1:]...)
				code := "0"
				if exit, ok := err.(interface{ ExitCode() int }); ok {
					code = strconv.Itoa(exit.ExitCode())
				} else if err != nil {
					ts.Fatalf("%v", err)
				}
				if code != args[0] {
					ts.Fatalf("exit code %s, want %s", code, args[0])
				}
			},
			// cmpjson FILE FIELD WANT: the field of FILE's object, or all of it for ".", is the
			// same as the JSON in WANT.
			"cmpjson": func(ts *testscript.TestScript, _ bool, args []string) {
				var got, want any
				ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &got))
				ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &want))
				if args[1] != "." {
					got = got.(map[string]any)[args[1]]
				}
				if !reflect.DeepEqual(got, want) {
					ts.Fatalf("%s of %s: %v\nwant %v", args[1], args[0], got, want)
				}
			},
			// waitfor FILE: until it exists.
			"waitfor": func(ts *testscript.TestScript, _ bool, args []string) {
				for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
					if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
						return
					} else if time.Now().After(end) {
						ts.Fatalf("no %s: %v", args[0], err)
					}
				}
			},
			// hinted: the last command printed one line and a hint, and nothing else.
			"hinted": func(ts *testscript.TestScript, neg bool, _ []string) {
				lines := strings.Split(strings.TrimSuffix(ts.ReadFile("stderr"), "\n"), "\n")
				if len(lines) != 2 || !strings.HasPrefix(lines[0], "openshell-vm: ") || !strings.HasPrefix(lines[1], "hint: ") {
					ts.Fatalf("not one line and a hint: %q", lines)
				}
				if out := ts.ReadFile("stdout"); out != "" {
					ts.Fatalf("an error beside output: %q", out)
				}
			},
		},
	})
}
