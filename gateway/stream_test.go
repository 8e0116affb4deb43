package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
)

// processes is an engine whose commands are functions of the test's.
type processes struct {
	*fake
	next atomic.Int64
	byID sync.Map
}

// add gives p a command.
func (e *processes) add(p streamtest.Process) []string {
	name := strconv.FormatInt(e.next.Add(1), 10)
	e.byID.Store(name, p)
	return []string{name}
}

func (e *processes) Exec(ctx context.Context, _ string, p drivers.Process, s drivers.Streams) (int, error) {
	process, ok := e.byID.Load(p.Args[0])
	if !ok {
		return 127, nil
	}
	return process.(streamtest.Process)(ctx, s), nil
}

// withProcesses is a gateway with a running sandbox of such an engine, "one".
func withProcesses(t *testing.T) (*world, *processes) {
	engine := &processes{fake: newFake("fake")}
	w := newWorld(t, engine)
	w.run()
	w.create(api.CreateRequest{Name: "one"})
	w.start("one")
	return w, engine
}

// TestHop: bytes go from the client to a driver and back.
func TestHop(t *testing.T) {
	streamtest.Test(t, func(t *testing.T) streamtest.Run {
		w, engine := withProcesses(t)
		return func(ctx context.Context, ends stream.Streams, p streamtest.Process) (int, error) {
			return w.client.Exec(ctx, "one", api.ExecRequest{Process: api.Process{Args: engine.add(p)}, Stdin: true}, ends)
		}
	})
}

// An older client, without credit, still works and loses no bytes.
func TestAnOldClient(t *testing.T) {
	w, engine := withProcesses(t)
	args := engine.add(func(ctx context.Context, s stream.Streams) int {
		n, err := io.Copy(s.Stdout, s.Stdin)
		if err != nil || n != streamtest.Big {
			t.Errorf("%d bytes, %v", n, err)
		}
		return 3
	})
	conn, err := net.Dial("unix", filepath.Join(w.gateway.home.Runtime, api.SocketFile))
	w.must(err)
	defer conn.Close()
	body := fmt.Sprintf(`{"process":{"args":[%q]},"stdin":true}`, args[0])
	request, err := http.NewRequest("POST", "http://gateway/v1/sandboxes/one/exec", strings.NewReader(body))
	w.must(err)
	for k, v := range map[string]string{"Openshell-Api": "1", "Connection": "Upgrade", "Upgrade": "openshell-stream"} {
		request.Header.Set(k, v)
	}
	w.must(request.Write(conn))
	buffered := bufio.NewReader(conn)
	response, err := http.ReadResponse(buffered, request)
	w.must(err)
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response.Status)
	}
	in := streamtest.NewSource(streamtest.Big)
	go func() {
		out := stream.NewWriter(conn)
		io.Copy(out.To(stream.Stdin, 0), in)
		out.Write(stream.StdinClose, 0, nil)
	}()
	var got streamtest.Sum
	for frames := stream.NewReader(buffered); ; {
		f, err := frames.Read()
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind == stream.Exit {
			if !bytes.Equal(f.Payload, stream.EncodeExit(3)) {
				t.Errorf("exit %x", f.Payload)
			}
			break
		}
		if f.Kind != stream.Stdout {
			t.Fatalf("an old client does not know kind %d", f.Kind)
		}
		got.Write(f.Payload)
	}
	if got.String() != in.Sum() {
		t.Errorf("sent %s, came %s", in.Sum(), got.String())
	}
}
