package request

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
)

func TestSourceTexts(t *testing.T) {
	here, err := filepath.Abs("x")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]api.Source{
		"x":                           {Name: "x", File: here},
		"/etc/ssl/ca.pem":             {Name: "ca.pem", File: "/etc/ssl/ca.pem"},
		"ssl/ca.pem=/etc/x,mode=0400": {Name: "ssl/ca.pem", File: "/etc/x", Mode: 0o400},
		"a=/x,owner=1000,mode=0400":   {Name: "a", File: "/x", Owner: &api.Owner{UID: 1000, GID: 1000}, Mode: 0o400},
		"a=/x,owner=1000:5":           {Name: "a", File: "/x", Owner: &api.Owner{UID: 1000, GID: 5}},
		"a=/with,comma=and/more":      {Name: "a", File: "/with,comma=and/more"},
		"a=/x,every=1m,mode=444":      {Name: "a", File: "/x", Every: time.Minute, Mode: 0o444},
	} {
		if got, err := fileSource(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("--file %q: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]api.Source{
		"t=gh auth token":                              {Name: "t", Command: []string{"gh", "auth", "token"}},
		"d/t=gh auth token,every=5m":                   {Name: "d/t", Command: []string{"gh", "auth", "token"}, Every: 5 * time.Minute},
		`t=sh -c 'echo a=b, c' x,format=raw,mode=0400`: {Name: "t", Command: []string{"sh", "-c", "echo a=b, c", "x"}, Format: "raw", Mode: 0o400},
	} {
		if got, err := commandSource(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("--exec %q: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]api.Source{
		"db":                                {Name: "db", Secret: "db"},
		"db,uid=7":                          {Name: "db", Secret: "db", Owner: &api.Owner{UID: 7}},
		"db,owner=7:0":                      {Name: "db", Secret: "db", Owner: &api.Owner{UID: 7}},
		"db,name=d/pw,mode=0400":            {Name: "d/pw", Secret: "db", Mode: 0o400},
		"db,type=mount,target=pw,mode=0444": {Name: "pw", Secret: "db", Mode: 0o444},
	} {
		if got, err := secretSource(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("--secret %q: %+v, %v", text, got, err)
		}
	}
	app := api.GitHubApp{App: "12", Installation: 3, Key: here}
	wide := api.GitHubApp{App: "Iv1.a", Installation: 3, Key: "/k", Repositories: []string{"a/b", "c"}, URL: "https://g"}
	for text, want := range map[string]api.Source{
		"12,installation=3,key=x": {Name: "github", GitHubApp: &app},
		"Iv1.a,installation=3,key=/k,repos=a/b;c,url=https://g,name=ghe,mode=0400": {Name: "ghe", GitHubApp: &wide, Mode: 0o400},
	} {
		if got, err := appSource(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("--github-app %q: %+v, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{"": "no ID", "installation=3": "no ID", "1,key=x": "needs installation=", "1,installation=2": "needs",
		"1,installation=x,key=k": "installation=x", "1,installation=2,key=k,every=1m": `no option "every"`, "1,key=": "no value",
		"1,installation=2,key=k,key=l": "key= is given twice"} {
		if _, err := appSource(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("--github-app %q: %v", text, err)
		}
	}
	for text, want := range map[string]api.Source{
		"/h/application_default_credentials.json": {Name: "application_default_credentials", OAuth: "/h/application_default_credentials.json"},
		"g/o=x,mode=0400":                         {Name: "g/o", OAuth: here, Mode: 0o400},
	} {
		if got, err := oauthSource(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("--oauth %q: %+v, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{"": "names no file", "x=": "names no file", "x=/y,mode=9": "mode=9"} {
		if _, err := oauthSource(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("--oauth %q: %v", text, err)
		}
	}
	for text, says := range map[string]string{"": "no NAME", "name=x": "no NAME", ",mode=0400": "no NAME", "db,mode=9": "mode=9",
		"db,type=env,target=PW": "environment", "db,uid=me": "uid=me", "db,every=1m": `no option "every"`, "db,mode=0400,mode=0444": "mode= is given twice"} {
		if _, err := secretSource(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("--secret %q: %v", text, err)
		}
	}
	for text, says := range map[string]string{"": "names no file", "=x": "names no file", "x=": "names no file", "x=/y,mode=9": "mode=9",
		"x=/y,owner=root": "owner=root", "x=/y,owner=1:": "owner=1:", "x=/y,owner=4294967295": "owner=4294967295"} {
		if _, err := fileSource(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("--file %q: %v", text, err)
		}
	}
	for text, says := range map[string]string{"": "no NAME", "gh auth token": "no NAME", "t=": "no COMMAND", "t='": "Unterminated", "t=x,every=often": "every=often",
		"t=x,every=1m,every=2m": "every= is given twice"} {
		if _, err := commandSource(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("--exec %q: %v", text, err)
		}
	}
}
