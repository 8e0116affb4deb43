// Package policy decides what a guest may reach. It judges the address that is dialed,
// never the name that somebody asked for: a name may lead anywhere, and elsewhere the
// next time.
//
// Refused to all guests are:
//
//   - the host: its loopback and all of its own addresses, as the kernel knows them at
//     that moment
//   - link-local addresses, and with them the metadata services of most clouds; and the
//     other addresses of such services
//   - other sandboxes: what lies on a network of this host's own, behind a bridge or veth
//     that does not lead to the internet, such as those of Docker and Podman
//   - multicast, broadcast, and what is no host's address
//   - IPv6 addresses that stand for an IPv4 address which is refused
//
// With an allow list, all else is refused, too.
package policy
