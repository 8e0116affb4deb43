package resolver

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// TestQuestionIsMadeAnew: nothing that a guest hides in its message reaches a server, but
// the question, its flags, and what it says of EDNS do.
func TestQuestionIsMadeAnew(t *testing.T) {
	var got atomic.Pointer[[]byte]
	s := newServer(t, func(query []byte, q dnsmessage.Question, tcp bool) []byte {
		copied := bytes.Clone(query)
		got.Store(&copied)
		return records(query, q, "", "10.0.0.1")
	})
	r := newResolver(nil, s)
	name := dnsmessage.MustNewName("www.example.org.")
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true, CheckingDisabled: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.TXTResource{TXT: []string{"smuggled"}},
		}},
	}
	var h dnsmessage.ResourceHeader
	if err := h.SetEDNS0(60000, dnsmessage.RCodeSuccess, true); err != nil {
		t.Fatal(err)
	}
	m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{
		Options: []dnsmessage.Option{{Code: 10, Data: []byte("smuggled")}},
	}}}
	query, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, tcp := range []bool{false, true} {
		answer := parsed(t, r.Answer(t.Context(), append(query, "smuggled"...), tcp))
		if answer.RCode != dnsmessage.RCodeSuccess || len(answer.Answers) != 1 {
			t.Errorf("%+v", answer)
		}
		asked := *got.Load()
		if strings.Contains(string(asked), "smuggled") {
			t.Errorf("a server got %q", asked)
		}
		var q dnsmessage.Message
		if err := q.Unpack(asked); err != nil {
			t.Fatal(err)
		}
		if !q.RecursionDesired || !q.CheckingDisabled || len(q.Answers) != 0 || len(q.Additionals) != 1 || len(q.Questions) != 1 {
			t.Fatalf("a server got %+v", q)
		}
		if edns := q.Additionals[0].Header; edns.Type != dnsmessage.TypeOPT || edns.Class != mostSize || !edns.DNSSECAllowed() {
			t.Errorf("a server got %+v", edns)
		}
	}
}

// TestOtherClasses: a question of another class than the internet's is refused, and no
// server hears of it.
func TestOtherClasses(t *testing.T) {
	s := newServer(t, func(query []byte, q dnsmessage.Question, tcp bool) []byte { return records(query, q, "", "10.0.0.1") })
	r := newResolver(nil, s)
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 4711}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("version.bind."), Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassCHAOS},
	}}
	query, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if answer := parsed(t, r.Answer(t.Context(), query, false)); answer.RCode != dnsmessage.RCodeRefused {
		t.Errorf("%+v", answer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) != 0 {
		t.Errorf("the server was asked for %v", s.asked)
	}
}
