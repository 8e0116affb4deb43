// Sdks calls providers through their own Go libraries, as a program in a sandbox does. It knows
// no token and no file: all that it goes by is what a preset put into its environment.
//
//	sdks NAME…    calls the providers named again and again, until /tmp/stop is there
//
// Once each has been called it makes a file /tmp/up.PID. The first call that fails ends it with
// exit code 1 and a line on standard error. At its end it prints how often it called each.
//
// The models' providers are in it with the build tag models: their libraries are large.
//
// It is a module of its own: no program of ours links these libraries.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	stop  = "/tmp/stop"
	pause = 300 * time.Millisecond // between two calls
	bound = 2 * time.Minute        // of one call: a guest may be emulated
)

// A caller calls its provider once, as whom its library makes it.
type caller func(ctx context.Context) error

// A maker makes a caller that goes on with what it has, as a long-lived program does.
type maker func(ctx context.Context) (caller, error)

// waiting counts the providers that were not called yet.
var waiting atomic.Int64

var clouds = map[string]maker{"aws": awsCaller, "gcp": gcpCaller, "azure": azureCaller}

func main() {
	waiting.Store(int64(len(os.Args) - 1))
	var all sync.WaitGroup
	for _, name := range os.Args[1:] {
		all.Go(func() {
			n, err := callAgain(name)
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s: call %d: %v\n", name, n+1, err)
				os.Exit(1)
			}
			fmt.Println(name, n)
		})
	}
	all.Wait()
}

// callAgain calls the provider until it is to stop, and returns how often. Each tenth call is by
// a caller made anew, as by a program that has just started.
func callAgain(name string) (n int, err error) {
	make, known := clouds[name]
	if !known {
		make, known = models[name]
	}
	if !known {
		return 0, errors.New("there is no such provider in this program")
	}
	lasting, err := make(context.Background())
	for ; err == nil; n++ {
		if _, gone := os.Stat(stop); gone == nil {
			return n, nil
		}
		call := lasting
		if n%10 == 9 {
			if call, err = make(context.Background()); err != nil {
				break
			}
		}
		err = callOnce(call)
		if n == 0 && err == nil && waiting.Add(-1) == 0 {
			err = os.WriteFile(fmt.Sprint("/tmp/up.", os.Getpid()), nil, 0o600)
		}
		time.Sleep(pause)
	}
	return n, err
}

func callOnce(call caller) error {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	return call(ctx)
}

// get fetches an address and expects 200.
func get(ctx context.Context, client *http.Client, url string, header http.Header) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if header != nil {
		req.Header = header
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, res.Status, body)
	}
	return err
}
