// Command openshell-image pulls one container image and makes a block image of it. The vm
// driver runs it; people don't. Package images says how it is called.
//
// It is a process of its own because all that it reads is hostile: what a registry
// answers, archives, layers. It may have so much memory, and if it crashes or is killed the
// gateway goes on. Run again, it goes on where it was. What is hostile is read in a jail:
// see jailed.go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"

	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/internal/fault"
	"openshell-vm/internal/vocab"
)

var version = "dev"

// Its memory, in bytes: what the collector keeps to, and what the kernel refuses to exceed.
// An image with a million files, the most there may be, takes about 600 MiB.
const (
	softMemory = 1 << 30
	hardMemory = 3 << 30
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "jail" {
		jail.Main(os.Args[2:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	out := json.NewEncoder(os.Stdout)
	switch {
	case len(os.Args) == 1:
		gather(ctx, os.Stdin, out)
	case len(os.Args) == 2 && os.Args[1] == "version":
		fmt.Println(version)
	case len(os.Args) == 2 && os.Args[1] == inside:
		limitMemory()
		unpack(ctx, os.Stdin, out)
	default:
		fmt.Fprintln(os.Stderr, "openshell-image: it is run by the vm driver, not by hand")
		os.Exit(125)
	}
}

func limitMemory() {
	debug.SetMemoryLimit(softMemory)
	limit := syscall.Rlimit{Cur: hardMemory, Max: hardMemory}
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &limit); err != nil {
		fmt.Fprintln(os.Stderr, "openshell-image: bound the memory:", err)
	}
}

// read reads one value from in, and ends the process when in ends: whoever asked wants no
// answer any more then. A lock that is waited for can't be cancelled.
func read(in io.Reader, value any) error {
	d := json.NewDecoder(in)
	if err := d.Decode(value); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, io.MultiReader(d.Buffered(), in))
		os.Exit(1)
	}()
	return nil
}

// gather carries out the request on in, and writes what comes of it to out.
func gather(ctx context.Context, in io.Reader, out *json.Encoder) {
	var q images.Request
	if err := read(in, &q); err != nil {
		answer(out, nil, err)
		return
	}
	task, image, err := images.Gather(ctx, q, os.Getenv, teller(out))
	if err != nil || image != nil {
		answer(out, image, err)
		return
	}
	defer task.Given.Close()
	var crash *exec.ExitError
	switch err := runJailed(ctx, task); {
	case errors.As(err, &crash): // without an answer; what it wrote to standard error says why
		fmt.Fprintln(os.Stderr, "openshell-image: in its jail:", crash)
		os.Exit(1)
	case err != nil:
		answer(out, nil, err)
	}
}

func teller(out *json.Encoder) func(vocab.PullProgress) {
	return func(p vocab.PullProgress) { _ = out.Encode(images.Report{Progress: &p}) }
}

func answer(out *json.Encoder, image *store.Image, err error) {
	switch {
	case err == nil:
		_ = out.Encode(images.Report{Image: image, Block: image.Block})
		return
	case errors.Is(err, context.Canceled):
		err = errors.New("it was interrupted; it goes on where it was when it is asked for again")
	}
	_ = out.Encode(images.Report{Problem: &images.Problem{Message: err.Error(), Hint: fault.HintOf(err)}})
}
