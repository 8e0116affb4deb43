package policy

import (
	"net/netip"
	"testing"
)

// TestMetadataServices: the addresses that cloud providers document for their metadata
// services and agents, in every form.
func TestMetadataServices(t *testing.T) {
	p := &Policy{Host: anywhere, Opened: noNames}
	for _, text := range []string{
		"169.254.169.254",                 // most
		"169.254.170.2", "169.254.170.23", // AWS: containers, pods
		"fd00:ec2::254", "fd00:ec2::23", // AWS
		"fd20:ce::254",                 // Google
		"fd00:a9fe:a9fe::1",            // Akamai (Linode)
		"169.254.42.42", "fd00:42::42", // Scaleway
		"192.0.0.192", "fd00:c1::a9fe:a9fe", // Oracle
		"100.100.100.200", "fd00:100::100:200", // Alibaba
		"168.63.129.16", "169.254.0.23", // Azure, Tencent
		"fe80::a9fe:a9fe",                            // OpenStack
		"64:ff9b:1:a9fe:a9:fe00::",                   // translated, with a prefix of 48 bits
		"64:ff9b:1:a9:fe:a9fe::",                     // 56
		"64:ff9b:1:0:a9:fea9:fe00:0",                 // 64
		"64:ff9b:1::a9fe:a9fe", "64:ff9b::a9fe:a9fe", // 96
		"64:ff9b:1:a9fe:a9:fe00:808:808", "64:ff9b:1:a9:fe:a9fe:808:808", "64:ff9b:1:0:a9:fea9:fe08:808", // and bits that ought to be zero
		"64:ff9b:1::", "64:ff9b:1::1",
	} {
		if _, err := p.Check(TCP, netip.AddrPortFrom(netip.MustParseAddr(text), 80)); !isRefusal(err) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"64:ff9b::101:101", "64:ff9b:1::101:101", "64:ff9b:1:101:1:100::", "64:ff9b:1:1:1:101::", "64:ff9b:1:0:1:101:100:0"} {
		if _, err := p.Check(TCP, netip.AddrPortFrom(netip.MustParseAddr(text), 80)); err != nil {
			t.Errorf("%s, which is 1.1.1.1: %v", text, err)
		}
	}
}
