package resolver

import (
	"bufio"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Conf is what a resolv.conf says.
type Conf struct {
	Servers  []netip.AddrPort
	Search   []string
	Options  []string // as they stand there
	Timeout  time.Duration
	Attempts int
}

const (
	mostServers = 3
	mostSearch  = 32
)

// ParseConf reads a resolv.conf. Like the C library it takes this host's own server if the
// file names none, and ignores what it does not understand.
func ParseConf(text string) Conf {
	c := Conf{Timeout: 5 * time.Second, Attempts: 2}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.ContainsAny(fields[0][:1], "#;") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(fields[1]); err == nil && len(c.Servers) < mostServers {
				c.Servers = append(c.Servers, netip.AddrPortFrom(addr, 53))
			}
		case "search", "domain":
			c.Search = fields[1:min(len(fields), 1+mostSearch)]
		case "options":
			for _, option := range fields[1:] {
				c.option(option)
			}
		}
	}
	if len(c.Servers) == 0 {
		c.Servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	return c
}

func (c *Conf) option(option string) {
	name, value, _ := strings.Cut(option, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "timeout" && err == nil && n > 0:
		c.Timeout = time.Duration(min(n, 30)) * time.Second
	case name == "attempts" && err == nil && n > 0:
		c.Attempts = min(n, 5)
	case name == "ndots" && err == nil:
		c.Options = append(c.Options, option)
	}
}
