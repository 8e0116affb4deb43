package resolver

import "golang.org/x/net/dns/dnsmessage"

// mostSize is the largest answer over UDP that a server is asked for, in bytes.
const mostSize = 4096

// ask makes the message for a server from what was understood of the guest's: its
// question and its flags. Nothing else that a guest writes reaches the host's servers. p
// stands behind the question. Without a message, the guest's makes no sense.
func ask(head dnsmessage.Header, question dnsmessage.Question, p *dnsmessage.Parser) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: head.ID, RecursionDesired: head.RecursionDesired, AuthenticData: head.AuthenticData, CheckingDisabled: head.CheckingDisabled,
	})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(question); err != nil {
		return nil, err
	}
	if edns, ok := findEDNS(p); ok {
		var h dnsmessage.ResourceHeader
		size := min(max(int(edns.Class), 512), mostSize) // the class of this record is a size
		if err := h.SetEDNS0(size, dnsmessage.RCodeSuccess, edns.DNSSECAllowed()); err != nil {
			return nil, err
		}
		if err := b.StartAdditionals(); err != nil {
			return nil, err
		}
		if err := b.OPTResource(h, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// findEDNS returns the header of the record with which a message says that it speaks EDNS.
func findEDNS(p *dnsmessage.Parser) (dnsmessage.ResourceHeader, bool) {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return dnsmessage.ResourceHeader{}, false
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return h, false
		}
		if h.Type == dnsmessage.TypeOPT {
			return h, true
		}
		if p.SkipAdditional() != nil {
			return h, false
		}
	}
}
