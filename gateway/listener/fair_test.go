package listener

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// from makes a client whose connections come from an address of the loopback.
func from(addr string) (*http.Client, *net.Dialer) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}, Timeout: patience}, dialer
}

// TestOneAddressFloods: while one address has as many connections as it gets, and asks and
// connects as fast as it can, another one is answered each time.
func TestOneAddressFloods(t *testing.T) {
	t.Parallel()
	l := start(t, Settings{Address: "127.0.0.1:0"}, nil)
	addr := listens(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	defer flood.Wait()
	defer cancel()
	asking, dialer := from("127.0.0.2")
	for range maxConnections + addressConnections { // those that are refused come again at once
		flood.Go(func() {
			for ctx.Err() == nil {
				conn, err := dialer.DialContext(ctx, "tcp", addr)
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				_, _ = io.Copy(io.Discard, conn)
				stop()
				conn.Close()
				time.Sleep(time.Millisecond) // there are other tests
			}
		})
	}
	for range 8 {
		flood.Go(func() {
			for ctx.Err() == nil {
				request, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/healthz", nil)
				if response, err := asking.Do(request); err == nil {
					response.Body.Close()
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	until(t, "the flood has its share", func() bool {
		l.clients.mu.Lock()
		defer l.clients.mu.Unlock()
		return l.clients.of(netip.MustParseAddr("127.0.0.2")).open >= addressConnections*3/4
	})
	good, _ := from("127.0.0.3")
	for i := range 50 {
		response, _ := get(t, good, "GET", "http://"+addr+"/healthz")
		if response.StatusCode != http.StatusOK {
			t.Errorf("request %d: %d", i, response.StatusCode)
		}
	}
	l.clients.mu.Lock()
	defer l.clients.mu.Unlock()
	if open := l.clients.of(netip.MustParseAddr("127.0.0.2")).open; open > addressConnections {
		t.Errorf("the flood has %d connections", open)
	}
}

// TestManyAddresses: those who have left are forgotten, and however many there are takes bounded
// memory. All addresses of one IPv6 network count as one.
func TestManyAddresses(t *testing.T) {
	at := func(i int) string {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1).String()
	}
	synctest.Test(t, func(t *testing.T) {
		var c clients
		leave, ok := c.mayConnect(at(0))
		if !ok {
			t.Fatal("the first can't connect")
		}
		refused := 0
		for i := range 5 * maxAddresses {
			if !c.mayAsk(at(i)) {
				refused++
			}
		}
		if n := len(c.by); n > maxAddresses+1 || refused == 0 {
			t.Errorf("%d are remembered, %d are refused", n, refused)
		}
		time.Sleep(addressBurst * time.Second / addressPerSecond) // they have all their turns back
		if !c.mayAsk(at(1<<20)) || len(c.by) > 2 {
			t.Errorf("%d are remembered, though one is there", len(c.by))
		}
		leave()
		leave()
		if open := c.of(addressOf(at(0))).open; open != 0 {
			t.Errorf("%d connections are left", open)
		}
	})
	for a, b := range map[string]string{"[2001:db8::1]:1": "[2001:db8::ffff:2]:2", "[::ffff:10.0.0.1]:1": "10.0.0.1:2", "[fe80::1%lo]:1": "[fe80::2]:2"} {
		if addressOf(a) != addressOf(b) {
			t.Errorf("%s and %s are two", a, b)
		}
	}
	if addressOf("[2001:db8::1]:1") == addressOf("[2001:db8:0:1::1]:1") || addressOf("").IsValid() {
		t.Error("two networks are one")
	}
}
