package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// network is witness net:
//
//	serve PORT [ADDR…]       a server at PORT, TCP and UDP: "PROTOCOL ADDRESS" for each connection and datagram
//	                         that comes, and "ready PORT". At the first ADDR it also answers for names
//	links                    "NAME ADDRESS" for each address of each interface, and "default" if there is a way out
//	dial [PROTOCOL ADDR]…    "PROTOCOL ADDR: ok", or the error. After ok a byte was sent and came back
//	many N ADDR              opens N connections, uses each once they are all open, and prints how many that were
//	give N ADDR              gets N bytes from a server: "N bytes in T"
//	take N ADDR              sends N bytes to it
//	keep ADDR                a connection that is used each 10 ms: "up", then how it ended, then "again" once a new one works
func network(what string, args []string) {
	switch what {
	case "serve":
		serve(args)
	case "links":
		interfaces()
	case "dial":
		for pair := range slices.Chunk(args, 2) {
			fmt.Printf("%s %s: %v\n", pair[0], pair[1], cmp.Or(dial(pair[0], pair[1]), "ok"))
		}
	case "many":
		many(args[0], args[1])
	case "give", "take":
		move(what, args[0], args[1])
	case "keep":
		keep(args[0])
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

func serve(args []string) {
	l, err := net.Listen("tcp", ":"+args[0])
	fail(err)
	port := l.Addr().(*net.TCPAddr).Port
	go echoDatagrams(awaitUDP("", port))
	for i, addr := range args[1:] {
		// An answer has to come from the address that was asked.
		go func() { echoDatagrams(awaitUDP(addr, port)) }()
		if i == 0 {
			go func() { answerNames(awaitUDP(addr, 53), net.ParseIP(addr)) }()
		}
	}
	fmt.Println("ready", port)
	for {
		conn, err := l.Accept()
		fail(err)
		fmt.Println("tcp", conn.LocalAddr())
		go talk(conn)
	}
}

// awaitUDP listens at an address as soon as there is that address. In a network namespace
// without any route the kernel would take any address, and then send from another.
func awaitUDP(addr string, port int) net.PacketConn {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	}}
	for ; ; time.Sleep(10 * time.Millisecond) {
		if own, _ := net.InterfaceAddrs(); addr != "" && !strings.Contains(fmt.Sprint(own), addr+"/") {
			continue
		}
		conn, err := config.ListenPacket(context.Background(), "udp", net.JoinHostPort(addr, strconv.Itoa(port)))
		if err == nil {
			return conn
		}
	}
}

func echoDatagrams(conn net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buf)
		fail(err)
		fmt.Println("udp", conn.LocalAddr(), "from", from)
		_, _ = conn.WriteTo(buf[:n], from)
	}
}

// talk does what the first line asks for: echo, give N, take N, or GET of HTTP.
func talk(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 256<<10)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	what, number, _ := strings.Cut(strings.TrimSpace(line), " ")
	n, _ := strconv.ParseInt(number, 10, 64)
	switch what {
	case "echo":
		_, _ = io.Copy(conn, in)
	case "GET":
		for line != "\r\n" && err == nil { // a client whose request is not read gets a reset
			line, err = in.ReadString('\n')
		}
		fmt.Fprint(conn, "HTTP/1.0 200 OK\r\n\r\nyou got it\n")
	case "give":
		block := make([]byte, 256<<10)
		for n > 0 {
			sent, err := conn.Write(block[:min(n, int64(len(block)))])
			if err != nil {
				return
			}
			n -= int64(sent)
		}
	case "take":
		got, _ := io.CopyN(io.Discard, in, n)
		fmt.Fprintln(conn, got)
	}
}

// answerNames says that every name ending with .test is at addr.
func answerNames(conn net.PacketConn, addr net.IP) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		fail(err)
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
		if strings.HasSuffix(q.Name.String(), ".test.") {
			m.RCode = dnsmessage.RCodeSuccess
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 30},
					Body: &dnsmessage.AResource{A: [4]byte(addr.To4())}}}
			}
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

// dialTime bounds one attempt. A refusal that takes so long is none.
const dialTime = 10 * time.Second

func connect(protocol, addr string, within time.Duration) (net.Conn, error) {
	conn, err := net.DialTimeout(protocol, addr, within)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(within))
	if protocol == "tcp" {
		_, err = fmt.Fprintln(conn, "echo")
	}
	return conn, err
}

func use(conn net.Conn) error {
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

// dial returns why an address can't be reached; "" if it can.
func dial(protocol, addr string) string {
	conn, err := connect(protocol, addr, dialTime)
	if err == nil {
		defer conn.Close()
		if protocol == "udp" {
			conn.SetDeadline(time.Now().Add(time.Second)) // a lost datagram says nothing
		}
		err = use(conn)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// manyTime bounds one attempt among many, on a busy host.
const manyTime = 2 * time.Minute

func many(number, addr string) {
	n, err := strconv.Atoi(number)
	fail(err)
	var mu sync.Mutex
	var open []net.Conn
	var tries sync.WaitGroup
	slots := make(chan struct{}, 50)
	for range n {
		tries.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if conn, err := connect("tcp", addr, manyTime); err == nil {
				mu.Lock()
				open = append(open, conn)
				mu.Unlock()
			}
		})
	}
	tries.Wait()
	works := 0
	for _, conn := range open {
		conn.SetDeadline(time.Now().Add(manyTime))
		if use(conn) == nil {
			works++
		}
	}
	fmt.Println(works, "connections")
}

func move(what, number, addr string) {
	n, err := strconv.ParseInt(number, 10, 64)
	fail(err)
	conn, err := net.DialTimeout("tcp", addr, dialTime)
	fail(err)
	began := time.Now()
	fmt.Fprintln(conn, what, n)
	if what == "give" {
		got, err := io.CopyN(io.Discard, conn, n)
		fail(err)
		n = got
	} else {
		block := make([]byte, 256<<10)
		for left := n; left > 0; {
			sent, err := conn.Write(block[:min(left, int64(len(block)))])
			fail(err)
			left -= int64(sent)
		}
		var got int64
		_, err := fmt.Fscan(conn, &got)
		fail(err)
		n = got
	}
	took := time.Since(began)
	fmt.Printf("%d bytes in %.2f s: %.1f MB/s\n", n, took.Seconds(), float64(n)/1e6/took.Seconds())
}

func keep(addr string) {
	conn, err := connect("tcp", addr, dialTime)
	fail(err)
	fmt.Println("up")
	for err == nil {
		time.Sleep(10 * time.Millisecond)
		conn.SetDeadline(time.Now().Add(dialTime))
		err = use(conn)
	}
	fmt.Println("ended:", err)
	for dial("tcp", addr) != "" {
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Println("again")
}

func interfaces() {
	all, err := net.Interfaces()
	fail(err)
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			fmt.Println(i.Name, a)
		}
	}
	routes, _ := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(routes)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "00000000" {
			fmt.Println("default")
		}
	}
}
