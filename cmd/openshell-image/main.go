// Command openshell-image pulls one container image and makes a block image of it. The vm
// driver runs it; people don't. Package images says how it is called.
//
// It is a process of its own because all that it reads is hostile: what a registry
// answers, archives, layers. It may have so much memory, and if it crashes or is killed the
// gateway goes on. Run again, it goes on where it was.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"openshell-vm/drivers/vm/images"
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
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(version)
		return
	}
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "openshell-image: it is run by the vm driver, not by hand")
		os.Exit(125)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	debug.SetMemoryLimit(softMemory)
	limit := syscall.Rlimit{Cur: hardMemory, Max: hardMemory}
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &limit); err != nil {
		fmt.Fprintln(os.Stderr, "openshell-image: bound the memory:", err)
	}
	run(ctx, os.Stdin, json.NewEncoder(os.Stdout))
}

// run carries out the request on in, and writes what comes of it to out.
func run(ctx context.Context, in io.Reader, out *json.Encoder) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var q images.Request
	requests := json.NewDecoder(in)
	if err := requests.Decode(&q); err != nil {
		answer(out, err)
		return
	}
	// Whoever asked closes the input, or ends, when it wants no answer any more. A lock that
	// is waited for can't be cancelled.
	go func() {
		_, _ = io.Copy(io.Discard, io.MultiReader(requests.Buffered(), in))
		os.Exit(1)
	}()
	image, err := images.Pull(ctx, q, os.Getenv, func(p vocab.PullProgress) { _ = out.Encode(images.Report{Progress: &p}) })
	if err != nil {
		answer(out, err)
		return
	}
	_ = out.Encode(images.Report{Image: &image, Block: image.Block})
}

func answer(out *json.Encoder, err error) {
	if errors.Is(err, context.Canceled) {
		err = errors.New("it was interrupted; it goes on where it was when it is asked for again")
	}
	_ = out.Encode(images.Report{Problem: &images.Problem{Message: err.Error(), Hint: fault.HintOf(err)}})
}
