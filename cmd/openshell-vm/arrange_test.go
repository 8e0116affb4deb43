package main

import (
	"errors"
	"strings"
	"testing"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
)

func TestArrange(t *testing.T) {
	for _, c := range []struct{ typed, want string }{
		{"run", "run --"},
		{"run true", "run -- true"},
		{"run -it sh -c x", "run --interactive --tty -- sh -c x"},
		{"run -- cmd --flag", "run -- cmd --flag"},
		{"run -d -- -x", "run --detach -- -x"},
		{"run cmd -- --flag", "run -- cmd -- --flag"},
		{"run cmd -x", "run -- cmd -x"},
		{"run - x", "run -- - x"},
		{"run help", "run -- help"},
		{"run h", "run -- h"},
		{"run --name it -it x", "run --name=it --interactive --tty -- x"},
		{"run --name -it x", "run --name=-it -- x"},
		{"run --name= x", "run --name= -- x"},
		{"run -eA=b x", "run --env=A=b -- x"},
		{"run -e=A=b x", "run --env=A=b -- x"},
		{"run -e A=1,2 --env B x", "run --env=A=1,2 --env=B -- x"},
		{"run -ite A x", "run --interactive --tty --env=A -- x"},
		{"run -itu0 x", "run --interactive --tty --user=0 -- x"},
		{"run -i=false x", "run --interactive=false -- x"},
		{"run --rm=false x", "run --rm=false -- x"},
		{"run --mount a:b x", "run --mount=a:b -- x"},
		{"exec -it box sh -i", "exec --interactive --tty -- box sh -i"},
		{"exec box -it", "exec -- box -it"},
		{"inspect a -o json b", "inspect --output=json -- a b"},
		{"inspect a -- -b", "inspect -- a -b"},
		{"inspect h", "inspect -- h"},
		{"ps -aq", "ps --all --quiet --"},
		{"rm -f a", "rm --force -- a"},
		{"stop a -t 5", "stop --time=5 -- a"},
		{"token verify -", "token verify -- -"},
		{"token verify x --leeway=0", "token verify --leeway=0 -- x"},
		{"token", "token"},
		{"token --help", "token --help"},
		{"help", "--help"},
		{"help token verify", "token verify --help --"},
		{"--version", "--version"},
		{"", ""},
	} {
		args := append([]string{say.Program}, strings.Fields(c.typed)...)
		got, err := cmdline.Arrange(newApp(), args)
		if err != nil || strings.Join(got[1:], " ") != c.want {
			t.Errorf("%q: %q, %v; want %q", c.typed, got, err, c.want)
		}
	}
}

func TestArrangeRefuses(t *testing.T) {
	for typed, hint := range map[string]string{
		"runn": "did you mean run?", "xyzzy": "openshell-vm --help",
		"run --naem x": "did you mean --name?", "run --zzz": "openshell-vm run --help",
		"run -itz x": "openshell-vm run --help", "run --i x": "openshell-vm run --help", "run ---name x": "openshell-vm run --help",
		"run --name": "explains it", "run -itu": "explains it",
		"token verfy": "did you mean verify?", "token -x": "openshell-vm token --help", "-o json": "openshell-vm --help",
	} {
		args := append([]string{say.Program}, strings.Fields(typed)...)
		got, err := cmdline.Arrange(newApp(), args)
		var wrong *say.Error
		if !errors.As(err, &wrong) || !strings.Contains(wrong.Hint, hint) {
			t.Errorf("%q: %q, %v; want the hint %q", typed, got, err, hint)
		}
	}
}

func FuzzArrange(f *testing.F) {
	for _, seed := range []string{"run\n-it\n--name\nit", "run\n-é=", "-\xff0", "token\n-\n--", "-\n-o", "help\nhelp"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		// Whatever is typed: no panic, and what is taken is stable.
		args := append([]string{say.Program}, strings.Split(typed, "\n")...)
		once, err := cmdline.Arrange(newApp(), args)
		if err != nil {
			return
		}
		twice, err := cmdline.Arrange(newApp(), once)
		if err != nil || strings.Join(once, "\n") != strings.Join(twice, "\n") {
			t.Errorf("%q, then %q: %v", once, twice, err)
		}
	})
}
