// Package listener serves what verifiers of tokens fetch: the discovery document and the keys,
// over HTTPS, or in clear on the loopback. It is off unless an address is configured.
//
// Whoever can reach the address may be hostile. Connections, their rate, the rate of requests,
// and each one's time and size are bounded, so a flood costs this process a bounded share of
// its time. What it serves is public, and it changes nothing. One address gets a part of all that
// only, so one client that floods locks no other out; many addresses together still can.
//
// An address that can't be had, or a certificate that can't be read, is told and tried again;
// nothing else waits for it. What was served before goes on meanwhile.
package listener
