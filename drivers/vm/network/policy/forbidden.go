package policy

import "net/netip"

// reserved are the addresses that no guest reaches, whatever the host's routes say.
var reserved = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this is no host's address"},
	{netip.MustParsePrefix("127.0.0.0/8"), theHost},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses, as of a cloud's metadata service, are refused"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast is refused"},
	{netip.MustParsePrefix("240.0.0.0/4"), "broadcast and reserved addresses are refused"},

	{netip.MustParsePrefix("::/128"), "this is no host's address"},
	{netip.MustParsePrefix("::1/128"), theHost},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses are refused"},
	{netip.MustParsePrefix("fec0::/10"), "site-local addresses are refused"},
	{netip.MustParsePrefix("ff00::/8"), "multicast is refused"},

	// Metadata services at other addresses than a link-local one.
	{netip.MustParsePrefix("fd00:ec2::/32"), metadata},          // AWS
	{netip.MustParsePrefix("fd20:ce::/32"), metadata},           // Google
	{netip.MustParsePrefix("fd00:42::42/128"), metadata},        // Scaleway
	{netip.MustParsePrefix("fd00:a9fe:a9fe::/48"), metadata},    // Akamai (Linode)
	{netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), metadata}, // Oracle
	{netip.MustParsePrefix("fd00:100::100:200/128"), metadata},  // Alibaba
	{netip.MustParsePrefix("100.100.100.200/32"), metadata},     // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), metadata},       // Azure
	{netip.MustParsePrefix("192.0.0.192/32"), metadata},         // Oracle
}

const (
	theHost  = "the host itself is refused"
	metadata = "a cloud's metadata service is refused"
)

// embedding are the forms of IPv6 address with an IPv4 address in them, and where in
// them it is. A router may send a packet there on to the IPv4 address.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::ffff:0:0/96"), 12},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// teredo hides IPv4 addresses in it, in a form of its own.
var teredo = netip.MustParsePrefix("2001::/32")

// isatap marks the lower half of an address that ends with an IPv4 address.
func isatap(b [16]byte) bool {
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// embedded returns the IPv4 addresses that may be in an IPv6 address.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	if all := translations(addr); all != nil {
		return all
	}
	b := addr.As16()
	at := -1
	for _, e := range embedding {
		if e.prefix.Contains(addr) {
			at = e.at
			break
		}
	}
	if at < 0 && isatap(b) {
		at = 12
	}
	if at < 0 {
		return nil
	}
	return []netip.Addr{netip.AddrFrom4([4]byte(b[at : at+4]))}
}

// translated is the prefix that a network may use for its own translation to IPv4. Nobody
// but that network knows how long the prefix is that it made of this one.
var translated = netip.MustParsePrefix("64:ff9b:1::/48")

// translations returns the IPv4 addresses that addr may be translated to, by RFC 6052: with
// a prefix of 48, 56, 64 or 96 bits, and byte 8 left out. The bits beside the address are
// zero, so what reads as no host's address is not the one that is meant.
func translations(addr netip.Addr) (all []netip.Addr) {
	if !translated.Contains(addr) {
		return nil
	}
	b := addr.As16()
	for _, at := range [][4]int{{6, 7, 9, 10}, {7, 9, 10, 11}, {9, 10, 11, 12}, {12, 13, 14, 15}} {
		if b[at[0]] != 0 {
			all = append(all, netip.AddrFrom4([4]byte{b[at[0]], b[at[1]], b[at[2]], b[at[3]]}))
		}
	}
	if len(all) == 0 {
		return []netip.Addr{netip.IPv4Unspecified()}
	}
	return all
}

// refused says why an address is refused by its form alone; "" if it is not.
func refused(addr netip.Addr) string {
	if addr.Zone() != "" {
		return "link-local addresses are refused"
	}
	for _, r := range reserved {
		if r.prefix.Contains(addr) {
			return r.what
		}
	}
	if teredo.Contains(addr) {
		return "addresses of IPv6 tunnels are refused"
	}
	return ""
}
