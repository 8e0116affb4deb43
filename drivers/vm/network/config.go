package network

import (
	"encoding/json"
	"time"
)

// Program is the name of the network process's program.
const Program = "openshell-net"

// Descriptors that the network process inherits. From FirstListener on it has the sockets
// of Config.Forwards, in their order.
const (
	ControlFD     = 3 // to the monitor: lines of ToProcess, and of ToMonitor back
	WireFD        = 4 // to the guest's card
	FirstListener = 5
)

// Config is what a VM's user asked of its network. It is part of the monitor's
// configuration.
type Config struct {
	MTU         int       `json:"mtu"`
	AllowHost   []uint16  `json:"allowHost,omitempty"`   // TCP ports of the host's loopback
	AllowEgress []string  `json:"allowEgress,omitempty"` // as ParseEgress reads them; none: everything that is not refused to all
	Forwards    []Forward `json:"forwards,omitempty"`
}

// Forward is one port of the host that leads into the guest.
type Forward struct {
	Listen   string `json:"listen"` // address and port on the host
	Protocol string `json:"protocol"`
	Guest    uint16 `json:"guest"`
}

// ToProcess is one message of the monitor. The first has Config. The guest is served from
// the first that has Resolv.
type ToProcess struct {
	Config *Config `json:"config,omitempty"`
	// Resolv is the content of the host's resolv.conf, at the start and when it changes.
	Resolv *string `json:"resolv,omitempty"`
	// Given are addresses that an earlier process of this VM handed out.
	Given []Given `json:"given,omitempty"`
}

// ToMonitor is one message of the network process. What is in it comes from a guest.
type ToMonitor struct {
	Refused []Refused `json:"refused,omitempty"` // since the message before
	More    int       `json:"more,omitempty"`    // refusals that are not told one by one
	Given   []Given   `json:"given,omitempty"`   // with AllowEgress
	Traffic *Traffic  `json:"traffic,omitempty"` // since this process began
}

// Traffic is how many bytes the guest's card has received and sent, Ethernet headers and all.
type Traffic struct {
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
}

// Refused is something that a guest tried and may not.
type Refused struct {
	What  string `json:"what"`           // "tcp 10.0.0.1:22", or "the name example.org"
	Name  string `json:"name,omitempty"` // that the guest asked for and got the address for
	Why   string `json:"why"`
	Times int    `json:"times"`
}

// Given is an address that the resolver handed out for an allowed name. Egress has
// matched the name, so it is a host's.
type Given struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Until   time.Time `json:"until"`
}

// Bounds of a message, which is a line. They fit each other: the largest message of each
// kind is shorter than MaxLine, with whatever JSON makes of its letters.
const (
	MaxLine    = 4 << 20
	MaxRefused = 64  // in one message
	MaxText    = 300 // bytes of each text in a Refused
	MaxGiven   = 256 // in one message
	MaxResolv  = 64 << 10
	MaxEgress  = 1000 // of Config.AllowEgress, so that it fits into a message
)

// MaxKnown is how long an address stays known to have been given out, at most.
const MaxKnown = 24 * time.Hour

// Line returns a message as a line.
func Line(message any) []byte {
	data, err := json.Marshal(message)
	if err != nil {
		panic(err) // they are plain types
	}
	return append(data, '\n')
}
