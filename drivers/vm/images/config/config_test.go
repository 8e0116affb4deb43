package config

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"openshell-vm/internal/vocab"
)

const image = `{"architecture":"amd64","created":"2024-05-06T07:08:09Z","config":{
	"Entrypoint":["/entry","--fixed"],"Cmd":["serve"],"Env":["PATH=/opt/bin","A=image","B=image","broken","=x"],
	"User":"app:web","WorkingDir":"srv/app","StopSignal":"SIGQUIT","Volumes":{"/data":{},"/data/deep":{},"/":{},"relative":{}},
	"ExposedPorts":{"80/tcp":{}},"Labels":{"k":"v"}}}`

// TestProcess: what is run is what docker run would run.
func TestProcess(t *testing.T) {
	c, err := Read([]byte(image))
	if err != nil {
		t.Fatal(err)
	}
	fromImage := []string{"PATH=/opt/bin", "A=image", "B=image"}
	for name, test := range map[string]struct {
		asked      vocab.Process
		entrypoint string
		want       vocab.Process
	}{
		"nothing": {want: vocab.Process{Args: []string{"/entry", "--fixed", "serve"}, Env: fromImage, User: "app:web", Dir: "/srv/app"}},
		"a command": {asked: vocab.Process{Args: []string{"sh", "-c", "x"}},
			want: vocab.Process{Args: []string{"/entry", "--fixed", "sh", "-c", "x"}, Env: fromImage, User: "app:web", Dir: "/srv/app"}},
		"an entry point": {entrypoint: "sh",
			want: vocab.Process{Args: []string{"sh"}, Env: fromImage, User: "app:web", Dir: "/srv/app"}},
		"both": {asked: vocab.Process{Args: []string{"-c", "x"}}, entrypoint: "sh",
			want: vocab.Process{Args: []string{"sh", "-c", "x"}, Env: fromImage, User: "app:web", Dir: "/srv/app"}},
		"all else": {asked: vocab.Process{Env: []string{"A=user", "C=user"}, User: "0", Dir: "/tmp", Terminal: true},
			want: vocab.Process{Args: []string{"/entry", "--fixed", "serve"}, Env: []string{"PATH=/opt/bin", "B=image", "A=user", "C=user"},
				User: "0", Dir: "/tmp", Terminal: true}},
	} {
		if got, err := c.Process(test.asked, test.entrypoint); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v, not %+v", name, got, err, test.want)
		}
	}
}

func TestNoCommand(t *testing.T) {
	for _, raw := range []string{`{}`, `{"config":{"Cmd":[""]}}`} {
		c, err := Read([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Process(vocab.Process{}, ""); !errors.Is(err, ErrNoCommand) {
			t.Errorf("%s: %v", raw, err)
		}
		if p, err := c.Process(vocab.Process{Args: []string{"sh"}}, ""); err != nil || p.Dir != "/" || len(p.Env) != 0 {
			t.Errorf("%s: %+v, %v", raw, p, err)
		}
	}
	if _, err := Read([]byte(`{"config":7}`)); err == nil {
		t.Error("a broken configuration was read")
	}
}

func TestRest(t *testing.T) {
	c, err := Read([]byte(image))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := c.Process(vocab.Process{}, "")
	if got := c.Dirs(p); !slices.Equal(got, []string{"/data", "/data/deep", "/relative", "/srv/app"}) {
		t.Errorf("its directories are %q", got)
	}
	if n, ok := c.Signal(); n != 3 || !ok {
		t.Errorf("it is stopped by %d, %v", n, ok)
	}
	if c.Created != "2024-05-06T07:08:09Z" || !slices.Equal(c.Ports, []string{"80/tcp"}) || c.Labels["k"] != "v" {
		t.Errorf("%+v", c)
	}
}
