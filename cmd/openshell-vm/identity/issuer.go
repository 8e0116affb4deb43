package identity

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/discovery"
)

// Issuer is the command issuer.
func Issuer() *cli.Command {
	return &cli.Command{Name: "issuer", Usage: "who tokens say has made them, and what others need to verify them",
		Subcommands: []*cli.Command{
			{Name: "show", Usage: "show the issuer, those before it, and where verifiers find the keys",
				Flags: []cli.Flag{frame.Output()}, Action: issuerShowAction},
			{Name: "export", Usage: "write the discovery document and the keys as files for a web server or a bucket",
				ArgsUsage: cmdline.OneDirectory,
				Flags:     []cli.Flag{frame.Output()}, Action: issuerExportAction,
				Description: `# The files that are to be served below the issuer's URL; jwks.json is for a provider's form "upload a JWKS"
openshell-vm issuer export ./public`},
			{Name: "check", Usage: "compare what the world sees with what is signed; exit code 1 if tokens are refused",
				ArgsUsage: cmdline.MayBeURL,
				Flags:     []cli.Flag{frame.Output()}, Action: issuerCheckAction,
				Description: `# The issuer of the configuration
openshell-vm issuer check

# A place that is to become the issuer
openshell-vm issuer check https://tokens.example.org`},
		}}
}

// theIssuer asks the gateway.
func theIssuer(c *cli.Context) (*api.Client, api.Issuer, error) {
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return nil, api.Issuer{}, err
	}
	issuer, err := client.Issuer.Get(c.Context)
	return client, issuer, err
}

func issuerShowAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	if err := cmdline.None(c); err != nil {
		return err
	}
	_, issuer, err := theIssuer(c)
	if err != nil {
		return err
	}
	if asJSON {
		return show.PrintJSON(c.App.Writer, issuer)
	}
	return show.PrintIssuer(c.App.Writer, issuer)
}

func issuerExportAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	dir, err := cmdline.One(c)
	if err != nil {
		return err
	}
	_, issuer, err := theIssuer(c)
	if err != nil {
		return err
	}
	documents, err := documentsOf(issuer, issuer.URL)
	if err != nil {
		return err
	}
	files, err := discovery.Export(dir, documents, true)
	if err != nil {
		return say.Errorf("name a directory that you can write to", "write the issuer's documents: %v", err)
	}
	if issuer.URL == "" {
		say.Warn([]string{"no issuer with a URL is configured: there are only the keys, for a form that takes a JWKS"})
	}
	if asJSON {
		return show.PrintJSON(c.App.Writer, exported{dir, documents.CacheControl(), files})
	}
	for i := range files {
		files[i].Path = filepath.Join(dir, files[i].Path)
	}
	return show.PrintExported(c.App.Writer, files, documents.CacheControl())
}

// exported is what export has written.
type exported struct {
	Directory    string           `json:"directory"`
	CacheControl string           `json:"cacheControl"`
	Files        []discovery.File `json:"files"`
}

// documentsOf are the documents, as they would be at url.
func documentsOf(issuer api.Issuer, url string) (discovery.Documents, error) {
	return discovery.Make(url, issuer.Keys, issuer.PublishFor)
}

func issuerCheckAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	url, err := cmdline.AtMostOne(c)
	if err != nil {
		return err
	}
	client, issuer, err := theIssuer(c)
	if err != nil {
		return err
	}
	url = cmp.Or(url, issuer.URL)
	if url == "" {
		return say.Errorf("set issuer in the configuration, or name the URL: "+say.Program+" issuer check URL",
			"no issuer with a URL is configured")
	}
	if err := discovery.CheckURL(url); err != nil {
		return say.Errorf("it is a URL such as https://tokens.example.org", "%q can't be an issuer: %v", url, err)
	}
	want, err := wanted(c, client, issuer, url)
	if err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	p.Step("asking " + url)
	findings := discovery.Check(c.Context, nil, want)
	p.Done()
	if url != issuer.URL {
		findings = append([]discovery.Finding{{Level: discovery.Note,
			Line: "tokens say that the issuer is " + issuer.Name + ", and not " + url}}, findings...)
	}
	if asJSON {
		err = show.PrintJSON(c.App.Writer, findings)
	} else {
		err = show.PrintFindings(c.App.Writer, findings)
	}
	if err == nil && discovery.Failed(findings) {
		err = say.No
	}
	return err
}

// wanted is what should be found at url.
func wanted(c *cli.Context, client *api.Client, issuer api.Issuer, url string) (discovery.Wanted, error) {
	documents, err := documentsOf(issuer, url)
	if err != nil {
		return discovery.Wanted{}, err
	}
	keys, err := client.Keys.List(c.Context)
	if err != nil {
		return discovery.Wanted{}, err
	}
	want := discovery.Wanted{Issuer: url, Documents: documents, Roles: map[string]string{}, PublishFor: issuer.PublishFor}
	for _, k := range keys {
		switch {
		case !k.SignsFrom.IsZero() && !k.Signs:
			want.Roles[k.ID] = "signs from " + k.SignsFrom.Local().Format(time.DateTime) + " on"
		case k.Signs:
			want.Roles[k.ID] = "signs now"
		default:
			want.Roles[k.ID] = fmt.Sprintf("signed tokens that are good until %s", k.RetireAt.Local().Format(time.DateTime))
		}
	}
	return want, nil
}
