// Command witness is what the conformance suite runs inside a sandbox. It says
// what it sees and what it can do, one line each; the suite judges.
//
//	witness watch DIR          "N TEXT" for each new content of DIR/sandbox.jwt
//	witness inotify DIR        waits for a new ..data in DIR, and says what it reads then
//	witness answer DIR         for each line of its input what DIR/sandbox.jwt has then, as "N TEXT"
//	witness race DIR           reads as fast as it can until its input ends, then "reads=N bad=N last=N"
//	witness contract           as JSON, what of the contract this process sees (content.Contract)
//	witness pairs DIR          reads both files through ..data until its input ends, then "pairs=N bad=N last=N"
//	witness tamper DIR…        tries to change each directory in every way; "WAY PATH: ERROR" or "WAY PATH: DONE"
//	witness ls DIR…            every path below, one line each
//	witness tree DIR           what it sees of each path below, as JSON (content.Seen)
//	witness files DIR          does there what programs do with files; "NAME: ok" or "NAME: ERROR"
//	witness whole DIR          what an image says of each path below, one line each (content.Whole)
//	witness digest DIR         the number and the hash of those lines, and some on the way
//	witness self               its user and groups, directory and environment, one line each
//	witness size               "ROWSxCOLS" of its terminal, again when it changes
//	witness hold               "ready", then nothing until SIGTERM
//	witness sum                sleeps, then the length and hash of its input
//	witness give N             N bytes, and on stderr their length and hash
//	witness both N             N bytes, while it sums its input; then both sums on stderr
//	witness beat FILE          in FILE the time, as nanoseconds since 1970, again and again
//	witness signals            the number of each signal it gets; SIGTERM ends it
//	witness ask N BYTES        N requests at once to the gateway's socket: its address, then "answered"
//	witness net WHAT …         see network.go
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"openshell-vm/drivers/driverstest/content"
	"openshell-vm/drivers/driverstest/witness/files"
)

// does is what each word makes it do.
var does = map[string]func(args []string){
	"watch":    func(args []string) { watch(filepath.Join(args[0], "sandbox.jwt")) },
	"inotify":  func(args []string) { inotify(args[0]) },
	"answer":   func(args []string) { answer(filepath.Join(args[0], "sandbox.jwt")) },
	"race":     func(args []string) { race(filepath.Join(args[0], "sandbox.jwt")) },
	"contract": func([]string) { contract() },
	"pairs":    func(args []string) { pairs(args[0]) },
	"tamper":   func(args []string) { each(args, tamper) },
	"ls":       func(args []string) { each(args, list) },
	"tree": func(args []string) {
		out := json.NewEncoder(os.Stdout)
		content.Tree(args[0], func(s content.Seen) { _ = out.Encode(s) })
	},
	"files":   func(args []string) { files.Run(args[0]) },
	"whole":   func(args []string) { content.Whole(args[0], func(line string) { fmt.Println(line) }) },
	"digest":  func(args []string) { content.Digest(args[0], func(lines int, sum string) { fmt.Println(lines, sum) }) },
	"self":    func([]string) { self() },
	"size":    func([]string) { size() },
	"hold":    func([]string) { hold() },
	"echo":    func(args []string) { echo(args[0]) },
	"sum":     func([]string) { sum() },
	"give":    func(args []string) { give(args[0]) },
	"both":    func(args []string) { both(args[0]) },
	"beat":    func(args []string) { beat(args[0]) },
	"signals": func([]string) { signals() },
	"ask":     func(args []string) { ask(args[0], args[1]) },
	"net":     func(args []string) { network(args[0], args[1:]) },
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "witness: what?")
		os.Exit(2)
	}
	do := does[os.Args[1]]
	if do == nil {
		fmt.Fprintf(os.Stderr, "witness: unknown %q\n", os.Args[1])
		os.Exit(2)
	}
	do(os.Args[2:])
}

func each(dirs []string, f func(string)) {
	for _, dir := range dirs {
		f(dir)
	}
}
