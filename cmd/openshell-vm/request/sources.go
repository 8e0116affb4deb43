package request

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// SourceFlags are about files in a share that are kept fresh from elsewhere: run, create, share
// create and share set.
func SourceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "file", Usage: "a file or a directory of the host, `[NAME=]PATH`, " +
			"beside the token, which is followed when it changes; PATH[,mode=0400][,owner=UID[:GID]] (repeatable)"},
		&cli.StringSliceFlag{Name: "exec", Usage: "what a command of the host prints, without a shell, as the file NAME " +
			"beside the token: `NAME=COMMAND`; it runs again before that expires, or every so often; " +
			"COMMAND[,every=30m][,format=aws|kubernetes|oauth|jwt|raw][,mode=0400][,owner=UID[:GID]] (repeatable)"},
		&cli.StringSliceFlag{Name: "secret", Usage: "the secret `NAME` of secret create as a file beside the token, " +
			"which is replaced when the secret is; NAME[,name=FILE][,mode=0400][,owner=UID[:GID]] (repeatable)"},
		&cli.StringSliceFlag{Name: "github-app", Usage: "a GitHub App's token, and git's credentials with it, in github/: " +
			"`ID,installation=N,key=FILE`; FILE of the host is the app's private key; " +
			"FILE[,repos=OWNER/NAME;…][,name=DIR][,url=URL][,mode=0400] (repeatable)"},
		&cli.StringSliceFlag{Name: "oauth", Usage: "an access token in NAME/token beside the token, made with the refresh token " +
			"in a JSON file of the host, `[NAME=]FILE`; the gateway writes a new refresh token back; FILE[,mode=0400] (repeatable)"},
	}
}

// Sources reads SourceFlags. The gateway judges what they ask for.
func Sources(c *cli.Context) (list []api.Source, err error) {
	for _, kind := range []struct {
		flag string
		read func(string) (api.Source, error)
	}{{"file", fileSource}, {"exec", commandSource}, {"secret", secretSource}, {"github-app", appSource}, {"oauth", oauthSource}} {
		for _, text := range c.StringSlice(kind.flag) {
			s, err := kind.read(text)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	}
	return list, nil
}

func readSources(c *cli.Context, r *api.CreateRequest) (err error) {
	r.Sources, err = Sources(c)
	return err
}

// fileSource reads [NAME=]PATH[,mode=…]. Without a NAME the file keeps its own.
func fileSource(text string) (s api.Source, err error) {
	const hint = "write [NAME=]PATH[,mode=0400]"
	rest, err := options(text, &s)
	if err != nil {
		return s, say.Errorf(hint, "--file %q: %v", text, err)
	}
	name, path, named := strings.Cut(rest, "=")
	if !named {
		name, path = filepath.Base(rest), rest
	}
	if name == "" || path == "" {
		return s, say.Errorf(hint, "--file %q names no file", text)
	}
	s.Name = name
	if s.File, err = filepath.Abs(path); err != nil { // the gateway has another working directory
		return s, err
	}
	return s, nil
}

// commandSource reads NAME=COMMAND[,every=…][,format=…][,mode=…]. COMMAND is split into words as
// a shell would, and no shell runs it.
func commandSource(text string) (s api.Source, err error) {
	const hint = "write NAME=COMMAND[,every=30m][,format=FORMAT][,mode=0400], COMMAND in quotes"
	rest, err := options(text, &s)
	if err != nil {
		return s, say.Errorf(hint, "--exec %q: %v", text, err)
	}
	name, command, named := strings.Cut(rest, "=")
	if !named || name == "" {
		return s, say.Errorf(hint, "--exec %q has no NAME", text)
	}
	s.Name = name
	if s.Command, err = words("exec", text, command); err != nil {
		return s, err
	}
	if len(s.Command) == 0 {
		return s, say.Errorf(hint, "--exec %q has no COMMAND", text)
	}
	return s, nil
}

// secretSource reads NAME[,name=FILE][,mode=…]. Without a FILE it is called as the secret is.
// Podman's word for FILE is target.
func secretSource(text string) (s api.Source, err error) {
	const hint = "write NAME[,name=FILE][,mode=0400]; the file is in /etc/openshell/auth inside"
	fields := strings.Split(text, ",")
	s.Secret, s.Name = fields[0], fields[0]
	if strings.Contains(s.Secret, "=") || s.Secret == "" {
		return s, say.Errorf(hint, "--secret %q begins with no NAME", text)
	}
	given := once{}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		if err := given.take(key); err != nil {
			return s, say.Errorf(hint, "--secret %q: %v", text, err)
		}
		switch key {
		case "name", "target":
			s.Name = value
		case "mode", "owner":
			err = set(&s, key, value)
		case "uid", "gid": // podman's words
			err = setOwner(&s, key, value)
		case "type":
			if value != "mount" {
				return s, say.Errorf("have the program read the file: "+hint,
					"--secret %q: no secret goes into the environment, which others can read", text)
			}
		default:
			return s, say.Errorf(hint, "--secret %q: there is no option %q", text, key)
		}
		if err != nil {
			return s, say.Errorf(hint, "--secret %q: %v", text, err)
		}
	}
	return s, nil
}

// option is one at the end of a source; what comes before may have commas itself.
var option = regexp.MustCompile(`^(.*),(every|format|mode|owner)=([^,=]*)$`)

// options takes the options off the end of a source's text.
func options(text string, s *api.Source) (rest string, err error) {
	given := once{}
	for {
		m := option.FindStringSubmatch(text)
		if m == nil {
			return text, nil
		}
		text = m[1]
		if err := given.take(m[2]); err != nil {
			return "", err
		}
		if err := set(s, m[2], m[3]); err != nil {
			return "", err
		}
	}
}

// once holds the options that a source has so far. Each may be given once: who reads the line
// can't know which of two counts.
type once map[string]bool

func (o once) take(key string) error {
	if o[key] {
		return fmt.Errorf("%s= is given twice", key)
	}
	o[key] = true
	return nil
}

// set reads one option of a source.
func set(s *api.Source, key, value string) (err error) {
	switch key {
	case "every":
		s.Every, err = time.ParseDuration(value)
	case "format":
		s.Format = value
	case "mode":
		var mode uint64
		mode, err = strconv.ParseUint(value, 8, 32)
		s.Mode = uint32(mode)
	case "owner":
		uid, gid, both := strings.Cut(value, ":")
		if !both {
			gid = uid
		}
		if err = setOwner(s, "uid", uid); err == nil {
			err = setOwner(s, "gid", gid)
		}
	}
	if err != nil {
		return fmt.Errorf("%s=%s can't be read", key, value)
	}
	return nil
}

// setOwner sets one number of a source's owner. Names have other numbers inside than here.
func setOwner(s *api.Source, key, value string) error {
	id, err := strconv.ParseUint(value, 10, 32)
	if err != nil || id == math.MaxUint32 { // which means "as it is" to the kernel
		return fmt.Errorf("%s=%s is no number of a user or a group", key, value)
	}
	if s.Owner == nil {
		s.Owner = &api.Owner{}
	}
	if key == "uid" {
		s.Owner.UID = uint32(id)
	} else {
		s.Owner.GID = uint32(id)
	}
	return nil
}
