// Command openshell-net is the network of one VM. The VM's monitor starts it in a jail;
// people don't. Package network says what it inherits, package nat what it does.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"openshell-vm/drivers/vm/network/nat"
)

var version = "dev"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(version)
		return
	}
	if err := nat.Main(); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "openshell-net:", err)
		os.Exit(1)
	}
}
