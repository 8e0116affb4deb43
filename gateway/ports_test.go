package gateway

import (
	"net"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// TestPorts: a port of the host that is taken is refused before anything is made, and the
// error says who has it.
func TestPorts(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).AddrPort().Port()

	box := w.create(api.CreateRequest{Name: "box", Ports: []api.Port{{Guest: 80}, {Guest: 81}, {Guest: 53, Protocol: "udp"}}})
	free := box.Ports[0].Host
	if len(box.Ports) != 3 || free == 0 || box.Ports[1].Host == 0 || free == box.Ports[1].Host || box.Ports[2].Host == 0 {
		t.Fatalf("chosen: %v", box.Ports)
	}
	w.start("box")
	for name, c := range map[string]struct {
		request    api.CreateRequest
		code, says string
	}{
		"another process":      {api.CreateRequest{Ports: []api.Port{{Host: taken, Guest: 80}}}, api.CodeConflict, "taken by another process"},
		"on all addresses":     {api.CreateRequest{Ports: []api.Port{{HostIP: "0.0.0.0", Host: taken, Guest: 80}}}, api.CodeConflict, "taken by another process"},
		"another sandbox":      {api.CreateRequest{Ports: []api.Port{{Host: free, Guest: 80}}}, api.CodeConflict, "taken by sandbox box"},
		"another, all IPv6":    {api.CreateRequest{Ports: []api.Port{{HostIP: "::", Host: free, Guest: 80}}}, api.CodeConflict, "taken by sandbox box"},
		"no address of ours":   {api.CreateRequest{Ports: []api.Port{{HostIP: "192.0.2.1", Host: free, Guest: 80}}}, api.CodeConflict, "no such address"},
		"twice":                {api.CreateRequest{Ports: []api.Port{{Host: 9, Guest: 80}, {HostIP: "0.0.0.0", Host: 9, Guest: 81}}}, api.CodeInvalid, "both want port 9"},
		"no port":              {api.CreateRequest{Ports: []api.Port{{Host: 9}}}, api.CodeInvalid, "is none"},
		"no protocol":          {api.CreateRequest{Ports: []api.Port{{Guest: 9, Protocol: "sctp"}}}, api.CodeInvalid, "is none"},
		"no IP":                {api.CreateRequest{Ports: []api.Port{{HostIP: "host", Guest: 9}}}, api.CodeInvalid, "no IP address"},
		"without a network":    {api.CreateRequest{Network: "none", Ports: []api.Port{{Guest: 9}}}, api.CodeInvalid, "with the network none"},
		"more than anyone has": {api.CreateRequest{Ports: make([]api.Port, 1000)}, api.CodeInvalid, "more than the 256"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.client.Create(t.Context(), c.request)
			refused(t, err, c.code, c.says)
		})
	}
	if n := engine.count("create"); n > 1 {
		t.Errorf("%d sandboxes were made", n)
	}
	// The other protocol's number is another port.
	w.create(api.CreateRequest{Name: "udp", Ports: []api.Port{{Host: taken, Guest: 80, Protocol: "udp"}}})

	// What has stopped has given its ports back, until it is started again.
	if _, err := w.client.Stop(t.Context(), "box", 0); err != nil {
		t.Fatal(err)
	}
	w.create(api.CreateRequest{Name: "heir", Ports: []api.Port{{Host: free, Guest: 80}}})
	w.start("heir")
	_, err = w.client.Start(t.Context(), "box")
	refused(t, err, api.CodeConflict, "taken by sandbox heir")
	if s := w.get("box"); s.State == api.StateRunning || s.Desired != api.WantStopped {
		t.Errorf("it is %s, and should be %s", s.State, s.Desired)
	}
	w.must(w.client.Remove(t.Context(), "heir", true))
	w.start("box")
	if s := w.get("box"); len(s.Ports) != 3 || s.Ports[0].Host != free || !strings.HasPrefix(s.Ports[0].String(), "127.0.0.1:") {
		t.Errorf("%v", s.Ports)
	}
}
