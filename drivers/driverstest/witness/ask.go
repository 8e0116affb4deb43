package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// askPatience is how long ask goes on while no gateway is there.
const askPatience = 20 * time.Second

// ask sends so many requests at once to the gateway's socket, of so many bytes each, and checks
// the answers: "answered", or what went wrong. Before that it prints the address.
func ask(times, size string) {
	address := os.Getenv("OPENSHELL_GATEWAY_URL")
	fmt.Println(address)
	n, _ := strconv.Atoi(times)
	length, _ := strconv.Atoi(size)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(address, "unix://"))
		}}}
	if silent, err := net.Dial("unix", strings.TrimPrefix(address, "unix://")); err == nil {
		defer silent.Close() // one that says nothing holds up nobody
	}
	var all sync.WaitGroup
	failed := make(chan error, n)
	for i := range n {
		all.Go(func() {
			if err := askOnce(client, bytes.Repeat([]byte{'a' + byte(i)}, length)); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("answered")
}

func askOnce(client *http.Client, body []byte) error {
	deadline := time.Now().Add(askPatience)
	for {
		response, err := client.Post("http://gateway/", "text/plain", bytes.NewReader(body))
		var got []byte
		if err == nil {
			got, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		if err == nil {
			want := append(fmt.Appendf(nil, "%x\n", sha256.Sum256(body)), body...)
			if !bytes.Equal(got, want) {
				return fmt.Errorf("%d bytes are answered with %d others", len(body), len(got))
			}
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
