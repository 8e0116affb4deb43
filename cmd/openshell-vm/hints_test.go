package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/shares"
)

// spoken are the sources whose texts reach a user. docs/decisions/0016 says why a hint is
// worded there and not here. The tables of habits are left out: they hold what others
// have. TestHabitsAreTrue judges their hints.
var spoken = []string{"gateway", "drivers", "cmd"}

// silent are libraries. Who uses them has other commands and flags, or none.
var silent = []string{"share", "tokens", "krun", "internal"}

// proseAfter are the words that follow the program's name where it stands for the
// program, and not for a command line.
var proseAfter = strings.Fields("and or did learns minimal")

// foreign are the flags of other programs. A sentence may have one if it, or the file's
// path, names the program. An argument list may have any.
var foreign = map[string]string{
	"curl":              "--unix-socket",
	"cmdline":           "--hostname", // docker's, for which -h stands there
	"openshell-gateway": "--restarted-by --refusals",
	"openshell-token":   "--host --global",
	"share.go":          shares.FailedArg,
	"systemd-run":       "--property --value --quiet --collect --unit --description --setenv",
	"virtiofsd": "--no-announce-submounts --xattr --killpriv-v2 --fd --rlimit-nofile --shared-dir --cache --sandbox --modcaps " +
		"--inode-file-handles --log-level",
	"busybox":      "--list --list-full",
	"podman":       "--exec",
	"userns-remap": "--userns",
	"tar":          "--exclude",
}

// TestHintsAreTrue: whatever part of the program words a hint, it names no command and no
// flag that there is not.
func TestHintsAreTrue(t *testing.T) {
	app := newApp()
	seen := 0
	for _, dir := range spoken {
		for _, s := range sayings(t, filepath.Join("../..", dir)) {
			names := strings.Contains(s.text, "--") || strings.Contains(s.text, say.Program)
			if !names || strings.Contains(s.where, "/habits/") {
				continue
			}
			seen++
			for _, problem := range untrue(app, s.where, s.text) {
				t.Errorf("%s: %s: %q", s.where, problem, s.text)
			}
		}
	}
	if seen < 150 {
		t.Errorf("only %d texts were found", seen)
	}
}

// TestLibrariesNameNoFlag: they return typed errors, which gateway or a driver words.
func TestLibrariesNameNoFlag(t *testing.T) {
	names := regexp.MustCompile(`--[a-z]|` + say.Program + ` [a-z]`)
	for _, dir := range silent {
		all := sayings(t, filepath.Join("../..", dir))
		if len(all) == 0 {
			t.Errorf("%s says nothing", dir)
		}
		for _, s := range all {
			if names.MatchString(s.text) {
				t.Errorf("%s names a command or flag: %q", s.where, s.text)
			}
		}
	}
}

// TestUntrueHints: untrue finds what is wrong, and only that.
func TestUntrueHints(t *testing.T) {
	app := newApp()
	for text, problem := range map[string]string{
		"leave out --token-mode":                              "there is no flag --token-mode",
		"use --disk … or less":                                "",
		"see openshell-vm status":                             "there is no command status",
		"openshell-vm gateway reheat, then try again":         "there is no command gateway reheat",
		"openshell-vm doctor says what is missing":            "",
		"openshell-vm ps -a; openshell-vm start starts it":    "",
		"openshell-vm ps --rootfs shows it":                   "there is no flag --rootfs of ps",
		"openshell-vm ps -z shows it":                         "there is no flag -z of ps",
		"openshell-vm rm -fa":                                 "there is no flag -fa of rm",
		"openshell-vm help token burn":                        "there is no command token burn",
		"openshell-vm help COMMAND explains it":               "",
		"leave out --rootfs (openshell-vm ps)":                "",
		"openshell-vm ps, with --rootfs before":               "",
		"openshell-vm run --image REF --frobnicate":           "there is no flag --frobnicate of run",
		"openshell-vm run -m 2g -- ls --frobnicate":           "",
		"openshell-vm exec SANDBOX tar -C /DIR -cf - .":       "",
		"openshell-vm keys list, or openshell-vm keys burn X": "there is no command keys burn",
		"restart it with --userns=auto":                       "there is no flag --userns",
		"start it without userns-remap or --userns=auto":      "",
		"the openshell-vm and the engine":                     "",
		"it was openshell-vm.":                                "",
		"openshell-vm rm $(openshell-vm ps -q) ends all":      "",
		"openshell-vm rm $(openshell-vm ps --id) ends all":    "there is no flag --id of ps",
		"--cache=never":                                       "",
		"--token-mode":                                        "there is no flag --token-mode",
	} {
		if got := strings.Join(untrue(app, "x.go", text), ", "); got != problem {
			t.Errorf("%q: %q, want %q", text, got, problem)
		}
	}
}

// untrue says what a text names that there is not. Where it stands may name a program.
func untrue(app *cli.App, where, text string) (problems []string) {
	words := strings.Fields(text)
	for i := 0; i < len(words); {
		var problem string
		if strings.TrimLeft(words[i], `$("'`) == say.Program {
			i++
			if i < len(words) && words[i] == "help" { // Arrange makes a flag of it
				i++
			}
			var read int
			read, problem = commandLine(cmdline.Root(app), words[i:])
			i += read
		} else {
			problem = looseFlag(app, words[i], where, text)
			i++
		}
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

// commandLine judges the words behind the program's name. It reads up to the end of the
// clause, or all if a command of the user's begins, and says how many it has read.
func commandLine(cmd *cli.Command, words []string) (read int, problem string) {
	path := ""
	for ; read < len(words); read++ {
		word, last := clause(words[read])
		next := cmd.Command(word)
		if next == nil {
			break
		}
		cmd, path = next, strings.TrimSpace(path+" "+word)
		if last {
			return read + 1, ""
		}
	}
	if read < len(words) && len(cmd.Subcommands) > 0 {
		word, _ := clause(words[read])
		if isWord.MatchString(word) && !(path == "" && slices.Contains(proseAfter, word)) {
			return read + 1, "there is no command " + strings.TrimSpace(path+" "+word)
		}
		return read, ""
	}
	for ; read < len(words) && !strings.HasPrefix(words[read], "$("); read++ {
		word, last := clause(words[read])
		if word == "--" || !strings.HasPrefix(word, "-") && endsInCommand(cmd) {
			return len(words), ""
		}
		if strings.HasPrefix(word, "-") && word != "-" {
			if _, err := cmdline.Arrange(newApp(), append(append([]string{say.Program}, strings.Fields(path)...), word, "1")); err != nil {
				return read + 1, "there is no flag " + word + " of " + path
			}
			if _, takesValue := cmdline.Lookup(cmd, strings.TrimLeft(word, "-")); takesValue && !last {
				read++
			}
		}
		if last {
			return read + 1, ""
		}
	}
	return read, ""
}

var isWord = regexp.MustCompile(`^[a-z][a-z-]*$`)

// clause gives a word without what surrounds it, and says whether a clause ends with it.
func clause(word string) (bare string, last bool) {
	bare = strings.TrimLeft(word, `("'`)
	cut := strings.TrimRight(bare, `,;:.)"'`)
	return cut, cut != bare
}

func endsInCommand(cmd *cli.Command) bool {
	command, _ := cmdline.Known(cmd)
	return command
}

// argument is a text that is one word of an argument list.
var argument = regexp.MustCompile(`^--[a-z-]+(=|$)`)

var longFlag = regexp.MustCompile(`^[("'\[]*(--[a-z][a-z0-9-]*)`)

// looseFlag judges a word that stands behind no command of ours: a flag has to be one of
// some command, or of another program that the text names.
func looseFlag(app *cli.App, word, where, text string) (problem string) {
	found := longFlag.FindStringSubmatch(word)
	if found == nil {
		return ""
	}
	ours := false
	eachCommand(app, func(_ string, c *cli.Command) {
		name, _ := cmdline.Lookup(c, strings.TrimLeft(found[1], "-"))
		ours = ours || name != ""
	})
	if ours || found[1] == "--version" {
		return ""
	}
	for program, flags := range foreign {
		named := strings.Contains(where+text, program) || argument.MatchString(text)
		if named && slices.Contains(strings.Fields(flags), found[1]) {
			return ""
		}
	}
	return "there is no flag " + found[1]
}

// saying is a text of the sources: a string, or several with what is put between them.
type saying struct{ where, text string }

// sayings are the texts of all Go files below dir but tests.
func sayings(t *testing.T, dir string) (all []saying) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		collect(file, func(at token.Pos, text string) {
			all = append(all, saying{strings.TrimPrefix(files.Position(at).String(), "../../"), text})
		})
		return nil
	}))
	return all
}

// collect finds each string below a node, sums of strings as one.
func collect(node ast.Node, found func(at token.Pos, text string)) {
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				found(n.Pos(), textOf(n, found))
			}
		case *ast.BinaryExpr:
			if n.Op == token.ADD {
				found(n.Pos(), textOf(n, found))
				return false
			}
		}
		return true
	})
}

// textOf puts a string together. What is known only when the program runs becomes "…". The
// program's name is known.
func textOf(e ast.Expr, found func(at token.Pos, text string)) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.ParenExpr:
		return textOf(e.X, found)
	case *ast.BinaryExpr:
		return textOf(e.X, found) + textOf(e.Y, found)
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && x.Name == "say" && e.Sel.Name == "Program" {
			return say.Program
		}
	default:
		collect(e, found)
	}
	return "…"
}
