// Command intruder takes the place of a program in a jail, and tries to get out. Its own file
// says what it has to do.
package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"

	"openshell-vm/drivers/vm/jail/jailtest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "intruder:", err)
		os.Exit(1)
	}
}

func run() error {
	role, err := jailtest.OwnRole()
	if err != nil {
		return err
	}
	if answer, ok := role.Answers[strings.Join(os.Args[1:], " ")]; ok {
		_, err := fmt.Print(answer)
		return err
	}
	if role.Outside {
		return jailtest.IntrudeOutside(role.Targets, os.Stdout)
	}
	if _, err := os.Stat(cmp.Or(role.Targets.Share, role.Targets.Work, "/")); err != nil {
		time.Sleep(time.Minute) // the role is for another process with the same program
		return err
	}
	if err := jailtest.Intrude(role.Targets, os.Stdout); err != nil {
		return err
	}
	jailtest.StartThreads(os.Stdout)
	return nil
}
