package request

import (
	"path/filepath"
	"strconv"
	"strings"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// appSource reads ID,installation=…,key=…[,repos=…][,name=…][,url=…][,mode=…].
func appSource(text string) (s api.Source, err error) {
	const hint = "write ID,installation=N,key=FILE[,repos=OWNER/NAME;OWNER/NAME][,name=DIR][,url=URL][,mode=0400]"
	fields := strings.Split(text, ",")
	app := &api.GitHubApp{App: fields[0]}
	s = api.Source{Name: "github", GitHubApp: app}
	if strings.Contains(app.App, "=") || app.App == "" {
		return s, say.Errorf(hint, "--github-app %q begins with no ID", text)
	}
	given := once{}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		if value == "" {
			return s, say.Errorf(hint, "--github-app %q: %s= has no value", text, key)
		}
		if key != "repos" { // which adds to those before
			if err := given.take(key); err != nil {
				return s, say.Errorf(hint, "--github-app %q: %v", text, err)
			}
		}
		switch key {
		case "installation":
			app.Installation, err = strconv.ParseInt(value, 10, 64)
		case "key":
			app.Key, err = filepath.Abs(value)
		case "repos":
			app.Repositories = append(app.Repositories, strings.Split(value, ";")...)
		case "name":
			s.Name = value
		case "url":
			app.URL = value
		case "mode", "owner":
			err = set(&s, key, value)
		default:
			return s, say.Errorf(hint, "--github-app %q: there is no option %q", text, key)
		}
		if err != nil {
			return s, say.Errorf(hint, "--github-app %q: %s=%s can't be read", text, key, value)
		}
	}
	if app.Installation == 0 || app.Key == "" {
		return s, say.Errorf(hint, "--github-app %q needs installation= and key=", text)
	}
	return s, nil
}

// oauthSource reads [NAME=]FILE[,mode=…]. Without a NAME it is the file's own without .json.
func oauthSource(text string) (s api.Source, err error) {
	const hint = "write [NAME=]FILE[,mode=0400]"
	rest, err := options(text, &s)
	if err != nil {
		return s, say.Errorf(hint, "--oauth %q: %v", text, err)
	}
	name, path, named := strings.Cut(rest, "=")
	if !named {
		name, path = strings.TrimSuffix(filepath.Base(rest), ".json"), rest
	}
	if name == "" || path == "" {
		return s, say.Errorf(hint, "--oauth %q names no file", text)
	}
	s.Name = name
	s.OAuth, err = filepath.Abs(path)
	return s, err
}
