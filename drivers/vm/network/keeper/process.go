package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/network"
)

// tasks is how many threads a network process may have.
const tasks = 64

// How many messages of a network process are taken: it sends one a second at most, and has
// some more to send after the monitor stood still. More than that wait in the socket, which
// holds the process back.
const (
	messages     = 5 // in a second
	messageBurst = 30
)

// process is one network process.
type process struct {
	control net.Conn
	lives   context.Context // until the process has ended
	kill    func()
	died    chan Death // gets one, once the process has ended
}

// end ends a process.
func (p *process) end() {
	p.control.Close()
	p.kill()
}

// startProcess starts a process. It knows nothing yet.
func (n *Network) startProcess() (*process, error) {
	ours, theirs, err := pair("control")
	if err != nil {
		return nil, fmt.Errorf("make the control socket of the network: %w", err)
	}
	defer theirs.Close()
	control, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	died := make(chan Death, 1)
	p := hypervisor.Process{Name: Process, Files: append([]*os.File{theirs, n.wire}, n.listeners...), Jail: jail.Config{
		Profile: jail.Network, Path: "/" + network.Program, Network: true, Tasks: tasks,
		Binds: []jail.Bind{{Source: n.program, Target: "/" + network.Program, Exec: true}},
	}}
	lives, over := context.WithCancel(context.Background())
	kill, err := n.vm.Start(p, func(d Death) { over(); control.Close(); died <- d })
	if err != nil {
		over()
		control.Close()
		return nil, err
	}
	return &process{control, lives, kill, died}, nil
}

// introduction is the first messages for a process, each no longer than it may be.
func introduction(cfg *network.Config, resolv string, given []network.Given) []network.ToProcess {
	all := []network.ToProcess{{Config: cfg}}
	for some := range slices.Chunk(given, network.MaxGiven) {
		all = append(all, network.ToProcess{Given: some})
	}
	return append(all, network.ToProcess{Resolv: &resolv})
}

// tell sends a process messages. One that does not read is killed: it hangs, and another
// takes its place. Only one goroutine at a time tells a process something: until it is
// n.run that is introduce, and from then on followResolv.
func (n *Network) tell(run *process, messages ...network.ToProcess) error {
	run.control.SetWriteDeadline(time.Now().Add(n.patience))
	for _, message := range messages {
		if _, err := run.control.Write(network.Line(message)); err != nil {
			run.end()
			return err
		}
	}
	return nil
}

// listen takes a process's messages until it ends. What is no message ends the process.
func (n *Network) listen(run *process) {
	defer run.end()
	lines := bufio.NewScanner(run.control)
	lines.Buffer(nil, network.MaxLine)
	often, told := rate.NewLimiter(messages, messageBurst), network.Traffic{}
	for lines.Scan() {
		var message network.ToMonitor
		if often.Wait(run.lives) != nil {
			return
		}
		if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
			n.log.Warn("the network process sends what is no message", "error", err)
			return
		}
		n.mu.Lock()
		fresh := n.guest.take(message)
		told = n.guest.goOn(told, message.Traffic)
		n.mu.Unlock()
		for _, r := range fresh {
			n.log.Info("refused to the guest", "what", r.What, "name", r.Name, "why", r.Why)
		}
	}
}
