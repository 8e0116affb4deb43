package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"openshell-vm/internal/stream/streamtest/source"
)

// echo sends back what comes to a port, over TCP and UDP.
func echo(port string) {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fmt.Println(err)
		return
	}
	packets, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for buf := make([]byte, 1500); ; {
			if n, from, err := packets.ReadFrom(buf); err == nil {
				_, _ = packets.WriteTo(buf[:n], from)
			}
		}
	}()
	go func() {
		for {
			if c, err := l.Accept(); err == nil {
				go func() {
					_, _ = io.Copy(c, c)
					c.Close()
				}()
			}
		}
	}()
	hold()
}

func sum() {
	time.Sleep(2 * time.Second)
	var s source.Sum
	if _, err := io.Copy(&s, os.Stdin); err != nil {
		fmt.Println(err)
	}
	fmt.Println(&s)
}

func give(n string) {
	count, _ := strconv.Atoi(n)
	from := source.New(count)
	if _, err := io.Copy(os.Stdout, from); err != nil {
		fmt.Println(err)
	}
	fmt.Fprintln(os.Stderr, from.Sum())
}

// both sums its input while it gives output.
func both(n string) {
	count, _ := strconv.Atoi(n)
	var in source.Sum
	read := make(chan error)
	go func() {
		_, err := io.Copy(&in, os.Stdin)
		read <- err
	}()
	out := source.New(count)
	_, err := io.Copy(os.Stdout, out)
	if err = errors.Join(err, <-read); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "in %s\nout %s\n", &in, out.Sum())
}
