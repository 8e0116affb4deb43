package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var errNoAnswer = errors.New("no server answered")

// exchange asks the servers one after the other, and all of them again, until one
// answers.
func (r *Resolver) exchange(ctx context.Context, query []byte, question dnsmessage.Question, tcp bool) ([]byte, error) {
	conf := r.conf.Load()
	if conf == nil {
		return nil, errNoAnswer
	}
	var failed []byte // a server's word that it can't; another may
	for range conf.Attempts {
		for _, server := range conf.Servers {
			if r.Wait != nil && r.Wait(ctx) != nil {
				return nil, errNoAnswer
			}
			answer, err := askServer(ctx, server, query, question, tcp, conf.Timeout)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				continue
			}
			if code := dnsmessage.RCode(answer[3] & 0xf); code != dnsmessage.RCodeServerFailure && code != dnsmessage.RCodeRefused {
				return answer, nil
			}
			failed = answer
		}
	}
	if failed != nil {
		return failed, nil
	}
	return nil, errNoAnswer
}

// askServer asks one server under an id of our own, and returns its answer under the
// guest's.
func askServer(
	ctx context.Context, server netip.AddrPort, query []byte, question dnsmessage.Question, tcp bool, timeout time.Duration,
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	protocol := "udp"
	if tcp {
		protocol = "tcp"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, protocol, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	ours := append([]byte{}, query...)
	if _, err := rand.Read(ours[:2]); err != nil {
		return nil, err
	}
	var answer []byte
	if tcp {
		if answer, err = overTCP(conn, ours); err == nil && !answers(answer, ours, question) {
			err = errNoAnswer
		}
	} else {
		answer, err = overUDP(conn, ours, question)
	}
	if err != nil {
		return nil, err
	}
	copy(answer[:2], query[:2])
	return answer, nil
}

// overUDP waits for the answer and ignores what is none.
func overUDP(conn net.Conn, query []byte, question dnsmessage.Question) ([]byte, error) {
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answer := buf[:n]; answers(answer, query, question) {
			return answer, nil
		}
	}
}

func overTCP(conn net.Conn, query []byte) ([]byte, error) {
	if _, err := conn.Write(Framed(query)); err != nil {
		return nil, err
	}
	return ReadFramed(conn)
}

// Framed returns a message as it is sent over TCP.
func Framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message))), message...)
}

// ReadFramed reads a message that was sent over TCP.
func ReadFramed(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// answers reports whether a message answers our question.
func answers(answer, query []byte, question dnsmessage.Question) bool {
	var p dnsmessage.Parser
	head, err := p.Start(answer)
	if err != nil || !head.Response || head.ID != binary.BigEndian.Uint16(query) {
		return false
	}
	asked, err := p.AllQuestions()
	if err != nil || len(asked) != 1 {
		// Some servers leave the question out when they refuse it.
		return err == nil && len(asked) == 0 && head.RCode != dnsmessage.RCodeSuccess
	}
	q := asked[0]
	return q.Type == question.Type && q.Class == question.Class && strings.EqualFold(q.Name.String(), question.Name.String())
}
