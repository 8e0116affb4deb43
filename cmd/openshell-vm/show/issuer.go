package show

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/discovery"
	"openshell-vm/internal/text"
)

// PrintIssuer prints what is known of the issuer.
func PrintIssuer(w io.Writer, i api.Issuer) error {
	facts := []api.Fact{
		{Name: "Issuer", Value: i.Name},
		{Name: "Trust domain", Value: i.TrustDomain},
		{Name: "Keys", Value: fmt.Sprintf("%d; a new one is public for %s before it signs", countKeys(i.Keys), Span(i.PublishFor))},
	}
	if i.URL == "" {
		facts = append(facts, api.Fact{Name: "Discovery", Value: "none: set issuer in the configuration to a URL"})
	} else {
		facts = append(facts, api.Fact{Name: "Discovery", Value: i.URL + discovery.ConfigurationPath},
			api.Fact{Name: "JWKS", Value: i.URL + discovery.KeysPath})
	}
	for _, f := range i.Former {
		facts = append(facts,
			api.Fact{Name: "Before", Value: fmt.Sprintf("%s (%s), good until %s", f.Name, f.TrustDomain, moment(f.Until))})
	}
	return PrintFacts(w, append(facts, api.Fact{Name: "Verifiers", Value: i.Listener}, api.Fact{Name: "Hook", Value: i.Hook}))
}

func countKeys(set json.RawMessage) int {
	var keys struct {
		Keys []json.RawMessage `json:"keys"`
	}
	_ = json.Unmarshal(set, &keys) // of another version: none can be counted
	return len(keys.Keys)
}

// PrintExported prints what was written, and how to serve it.
func PrintExported(w io.Writer, files []discovery.File, cache string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FILE\tCONTENT TYPE\tWHAT")
	for _, f := range files {
		fmt.Fprintf(t, "%s\t%s\t%s\n", text.Line(f.Path), f.Type, f.What)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "serve them with Cache-Control: %s, and export them again after %s keys rotate (see hook in the "+
		"configuration)\n", cache, say.Program)
	return err
}

// PrintFindings prints a line for each finding.
func PrintFindings(w io.Writer, findings []discovery.Finding) error {
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "%-6s %s\n", f.Level, text.Line(f.Line)); err != nil {
			return err
		}
	}
	return nil
}
