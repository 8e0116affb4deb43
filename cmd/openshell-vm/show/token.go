package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// freshness says how long the token is good for, and whether renewing it fails. A token
// that is not good is told loudly only if something could be using it.
func freshness(s api.Sandbox, now time.Time) string {
	var said string
	left := s.Token.ExpiresAt.Sub(now)
	switch {
	case s.State == api.StateUnreadable:
		said = "not renewed"
	case s.Token.ExpiresAt.IsZero():
		said = "none yet"
	case left > 0 && s.Token.Revoked && s.State == api.StateRunning:
		said = "REVOKED: its key is retired"
	case left > 0 && s.Token.Revoked:
		said = "revoked: its key is retired"
	case left > 0:
		said = "expires in " + Span(left)
	case s.State == api.StateRunning:
		said = "EXPIRED " + Span(-left) + " ago"
	default:
		said = "expired " + Span(-left) + " ago"
	}
	for _, f := range s.Token.Files {
		if gone := now.Sub(f.ExpiresAt); s.State == api.StateRunning && left > 0 && gone >= 0 && !f.ExpiresAt.IsZero() {
			said += "; " + text.Line(f.File) + " EXPIRED " + Span(gone) + " ago"
		}
	}
	if !s.Token.UnseenSince.IsZero() && s.State == api.StateRunning {
		said += fmt.Sprintf("; generation %d", s.Token.Generation) + late(s.Token.SeenGeneration, s.Token.Seen, now)
	}
	for _, share := range s.Shares {
		if !share.UnseenSince.IsZero() && s.State == api.StateRunning {
			said += "; share " + share.Name + late(share.SeenGeneration, share.Seen, now)
		}
	}
	if s.Token.Failures > 0 {
		said += fmt.Sprintf("; renewal failed ×%d: %s", s.Token.Failures, text.Line(s.Token.LastError))
	}
	if s.Token.Problem != "" && left > 0 {
		said += "; " + text.Line(s.Token.Problem)
	}
	return said + stale(s.Sources, now) + untold(s.OnRenew)
}

// late says for how long something has not been seen, and what is known of that.
func late(generation uint64, s api.Seen, now time.Time) string {
	line := " NOT SEEN inside for " + Span(now.Sub(s.UnseenSince))
	switch {
	case s.UnseenReason != "":
		line += ": " + text.Line(s.UnseenReason)
	case generation > 0:
		line += fmt.Sprintf(": it sees %d", generation)
	}
	return line
}

// TokenFacts are token inspect's lines.
func TokenFacts(t api.Token) []api.Fact {
	facts := []api.Fact{
		{Name: "Generation", Value: fmt.Sprint(t.Generation)},
		{Name: "Key", Value: t.KeyID},
		{Name: "Token ID", Value: t.TokenID},
		{Name: "Issued", Value: moment(t.IssuedAt)},
		{Name: "Expires", Value: moment(t.ExpiresAt)},
		{Name: "Revoked", Value: revoked(t)},
		{Name: "Renewal", Value: moment(t.RenewAt)},
		{Name: "Seen inside", Value: seen(t)},
		{Name: "Not seen", Value: unseen(t)},
		{Name: "Renewals", Value: fmt.Sprintf("%d since the gateway started", t.Renewals)},
	}
	for _, f := range t.Files {
		facts = append(facts, api.Fact{Name: "File " + f.File, Value: fileLine(f)})
	}
	if t.Problem != "" {
		facts = append(facts, api.Fact{Name: "Problem", Value: t.Problem})
	}
	if t.Failures > 0 {
		facts = append(facts, api.Fact{Name: "Failures", Value: fmt.Sprintf("%d since the last success, last at %s: %s",
			t.Failures, moment(t.LastErrorAt), t.LastError)})
	}
	return facts
}

// seen is what the sandbox is known to have seen.
func seen(t api.Token) string {
	line := nonZero(t.SeenGeneration)
	switch {
	case line == "" || t.SeenAt.IsZero():
	case t.SeenAfter > 0:
		line += fmt.Sprintf(" at %s, %v after it was published", moment(t.SeenAt), t.SeenAfter.Round(100*time.Microsecond))
	default:
		line += " at " + moment(t.SeenAt)
	}
	return line
}

// unseen tells of what is published and not seen, though it should be.
func unseen(t api.Token) string {
	if t.UnseenSince.IsZero() {
		return ""
	}
	line := fmt.Sprintf("generation %d; nothing that was published since %s is seen inside", t.Generation, moment(t.UnseenSince))
	if t.UnseenReason != "" {
		line += ": " + t.UnseenReason
	}
	return line
}

// fileLine is what is known of a token for another audience, in one line.
func fileLine(t api.IssuedToken) string {
	line := fmt.Sprintf("for %s as %s, %s by key %s, issued %s, expires %s, renewal %s", t.Audience, t.Subject, t.Algorithm, t.KeyID,
		moment(t.IssuedAt), moment(t.ExpiresAt), moment(t.RenewAt))
	if t.Revoked {
		line += "; " + revoked(api.Token{Revoked: true})
	}
	return line
}

// FileFacts are token inspect's lines for one token for another audience.
func FileFacts(t api.IssuedToken) []api.Fact {
	return []api.Fact{
		{Name: "File", Value: t.File},
		{Name: "Audience", Value: t.Audience},
		{Name: "Subject", Value: t.Subject},
		{Name: "Algorithm", Value: t.Algorithm},
		{Name: "Key", Value: t.KeyID},
		{Name: "Token ID", Value: t.TokenID},
		{Name: "Issued", Value: moment(t.IssuedAt)},
		{Name: "Expires", Value: moment(t.ExpiresAt)},
		{Name: "Revoked", Value: revoked(api.Token{Revoked: t.Revoked})},
		{Name: "Renewal", Value: moment(t.RenewAt)},
	}
}

// lifetime is that of the tokens that the gateway makes; "" if it makes none.
func lifetime(ttl time.Duration, t api.Tokens) string {
	if t.Mode == api.StaticToken && len(t.Files) == 0 {
		return ""
	}
	return ttl.String()
}

// tokensAsked are what is asked of the tokens for other audiences.
func tokensAsked(t api.Tokens) []api.Fact {
	return []api.Fact{
		{Name: "Static token", Value: t.Static},
		{Name: "Identity", Value: t.Identity},
		{Name: "May ask for", Value: strings.Join(t.Audiences, ", ")},
		{Name: "Claims", Value: strings.Join(labelList(t.Claims), ", ")},
	}
}

func revoked(t api.Token) string {
	if !t.Revoked {
		return ""
	}
	return "verifiers refuse it: its key is retired; the next start, or " + say.Program + " token rotate, makes a new one"
}

// PrintVerdict prints token verify's answer.
func PrintVerdict(w io.Writer, r api.VerifyResult, now time.Time) error {
	line := "not valid: " + text.Line(r.Problem)
	switch {
	case r.Valid && r.SandboxID == "" && r.Subject != "":
		line = fmt.Sprintf("valid: %s, expires in %s", text.Line(r.Subject), Span(r.ExpiresAt.Sub(now)))
	case r.Valid:
		line = fmt.Sprintf("valid: sandbox %s, generation %d, expires in %s", r.SandboxID, r.Generation, Span(r.ExpiresAt.Sub(now)))
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// KeyTable is keys list.
func KeyTable(keys []api.Key, now time.Time) *Table {
	t := NewTable("KEY", "ALG", "USE", "AGE", "SHARES")
	for _, k := range keys {
		use := "signs"
		switch {
		case k.Unpublished:
			use = "waits for the hook"
		case k.State == "pending":
			use = "signs in " + Span(k.SignsFrom.Sub(now))
		case !k.Signs:
			use = "verifies for " + Span(k.RetireAt.Sub(now))
		}
		t.Add(k.ID, k.Algorithm, use, Span(now.Sub(k.CreatedAt)), fmt.Sprint(k.Shares))
	}
	return t
}
