package resolver

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"openshell-vm/drivers/vm/network"
)

// Resolver answers the questions of one guest. It is safe for concurrent use.
type Resolver struct {
	// Asks reports whether a canonical name is answered for.
	Asks func(name string) bool
	// Refused is told of a name that is not.
	Refused func(name string)
	// Gave is told of each address that is given out.
	Gave func(name string, addr netip.Addr, ttl time.Duration)
	// Wait waits until one more of the host's sockets may be made; nil if there is no
	// bound.
	Wait func(context.Context) error

	conf  atomic.Pointer[Conf]
	under atomic.Int32 // questions under way
}

// mostUnder bounds the questions that are under way. More get "server failure".
const mostUnder = 32

// Use sets the servers to ask.
func (r *Resolver) Use(c Conf) { r.conf.Store(&c) }

// Answer returns the answer to a guest's message, or nil if it deserves none. tcp tells
// how it was asked.
func (r *Resolver) Answer(ctx context.Context, query []byte, tcp bool) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil || head.Response {
		return nil
	}
	questions, err := p.AllQuestions()
	if err != nil || head.OpCode != 0 || len(questions) != 1 {
		return reply(head, nil, dnsmessage.RCodeFormatError)
	}
	question := questions[0]
	name := network.Canonical(question.Name.String())
	switch {
	case name == network.HostName:
		return host(head, question)
	case question.Type == typeAXFR || question.Type == typeIXFR || question.Class != dnsmessage.ClassINET:
		return reply(head, &question, dnsmessage.RCodeRefused)
	case !r.Asks(name):
		r.Refused(name)
		return denied(head, question, &p)
	case r.under.Add(1) > mostUnder:
		r.under.Add(-1)
		return reply(head, &question, dnsmessage.RCodeServerFailure)
	}
	defer r.under.Add(-1)
	ours, err := ask(head, question, &p)
	if err != nil {
		return reply(head, nil, dnsmessage.RCodeFormatError)
	}
	answer, err := r.exchange(ctx, ours, question, tcp)
	if err != nil {
		return reply(head, &question, dnsmessage.RCodeServerFailure)
	}
	r.note(name, answer)
	return answer
}

const (
	typeIXFR dnsmessage.Type = 251
	typeAXFR dnsmessage.Type = 252
)

// note tells of the addresses in an answer.
func (r *Resolver) note(name string, answer []byte) {
	var p dnsmessage.Parser
	if _, err := p.Start(answer); err != nil || p.SkipAllQuestions() != nil {
		return
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return
		}
		ttl := time.Duration(h.TTL) * time.Second
		switch h.Type {
		case dnsmessage.TypeA:
			record, err := p.AResource()
			if err != nil {
				return
			}
			r.Gave(name, netip.AddrFrom4(record.A), ttl)
		case dnsmessage.TypeAAAA:
			record, err := p.AAAAResource()
			if err != nil {
				return
			}
			r.Gave(name, netip.AddrFrom16(record.AAAA), ttl)
		default:
			if p.SkipAnswer() != nil {
				return
			}
		}
	}
}
