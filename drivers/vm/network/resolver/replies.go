package resolver

import (
	"golang.org/x/net/dns/dnsmessage"

	"openshell-vm/drivers/vm/network"
)

// start begins a reply of our own.
func start(to dnsmessage.Header, code dnsmessage.RCode) dnsmessage.Builder {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: to.ID, Response: true, OpCode: to.OpCode, RecursionDesired: to.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	b.EnableCompression()
	return b
}

func reply(to dnsmessage.Header, question *dnsmessage.Question, code dnsmessage.RCode) []byte {
	b := start(to, code)
	if question != nil {
		_ = b.StartQuestions()
		_ = b.Question(*question)
	}
	message, err := b.Finish()
	if err != nil {
		return nil
	}
	return message
}

const (
	optionError   = 15 // RFC 8914, extended errors
	errProhibited = 18
	ourSize       = 1232 // bytes that a message over UDP may have
)

// denied says that there is no such name. p stands behind the question.
func denied(to dnsmessage.Header, question dnsmessage.Question, p *dnsmessage.Parser) []byte {
	b := start(to, dnsmessage.RCodeNameError)
	_ = b.StartQuestions()
	_ = b.Question(question)
	if _, ok := findEDNS(p); ok {
		var h dnsmessage.ResourceHeader
		_ = h.SetEDNS0(ourSize, dnsmessage.RCodeSuccess, false)
		why := append([]byte{0, errProhibited}, "not in --allow-egress"...)
		_ = b.StartAdditionals()
		_ = b.OPTResource(h, dnsmessage.OPTResource{Options: []dnsmessage.Option{{Code: optionError, Data: why}}})
	}
	message, err := b.Finish()
	if err != nil {
		return reply(to, &question, dnsmessage.RCodeNameError)
	}
	return message
}

const hostTTL = 300 // seconds

// host answers for network.HostName.
func host(to dnsmessage.Header, question dnsmessage.Question) []byte {
	b := start(to, dnsmessage.RCodeSuccess)
	_ = b.StartQuestions()
	_ = b.Question(question)
	_ = b.StartAnswers()
	h := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: hostTTL}
	addresses := network.Addresses.Host
	switch question.Type {
	case dnsmessage.TypeA:
		_ = b.AResource(h, dnsmessage.AResource{A: addresses[0].Addr().As4()})
	case dnsmessage.TypeAAAA:
		_ = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: addresses[1].Addr().As16()})
	}
	message, err := b.Finish()
	if err != nil {
		return nil
	}
	return message
}
