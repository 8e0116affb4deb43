package show

import (
	"strings"
	"text/template"
	"text/template/parse"
)

// heading is the line above a table by template: in the place of each value the name of its
// field in capitals, or of its label. It is read off the template, so that it is there for
// whatever is listed, and if there is nothing to list.
func heading(t *template.Template) string {
	return names{}.list(t.Root)
}

// names are those of a template's variables.
type names map[string]string

func (n names) list(l *parse.ListNode) string {
	var line strings.Builder
	for _, node := range l.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
			line.Write(node.Text)
		case *parse.ActionNode:
			if name := n.pipe(node.Pipe); len(node.Pipe.Decl) == 0 {
				line.WriteString(name)
			}
		case *parse.IfNode:
			line.WriteString(n.list(node.List))
		case *parse.WithNode:
			line.WriteString(n.block(&node.BranchNode))
		case *parse.RangeNode:
			line.WriteString(n.block(&node.BranchNode))
		}
	}
	return line.String()
}

// block is what stands in a range or with: its own names, or the name of what it goes over.
func (n names) block(b *parse.BranchNode) string {
	over := n.pipe(b.Pipe)
	if inside := n.list(b.List); strings.TrimSpace(inside) != "" {
		return inside
	}
	return over
}

// pipe is the name of a pipeline's value: of the last field in it.
func (n names) pipe(p *parse.PipeNode) (name string) {
	for _, command := range p.Cmds {
		for i, arg := range command.Args {
			switch arg := arg.(type) {
			case *parse.FieldNode:
				name = n.field(arg.Ident, given(command.Args, i))
			case *parse.ChainNode:
				name = n.field(arg.Field, nil)
			case *parse.VariableNode:
				name = n[arg.Ident[0]]
				if len(arg.Ident) > 1 {
					name = n.field(arg.Ident, given(command.Args, i))
				}
			case *parse.PipeNode:
				name = n.pipe(arg)
			}
		}
	}
	for _, v := range p.Decl {
		n[v.Ident[0]] = name
	}
	return name
}

// given are the arguments of a method, which is what stands first.
func given(args []parse.Node, i int) []parse.Node {
	if i > 0 {
		return nil
	}
	return args[1:]
}

// field is the name of a field, or of the label that is asked for.
func (n names) field(path []string, args []parse.Node) string {
	last := path[len(path)-1]
	if last == "Label" && len(args) > 0 {
		if label, ok := args[0].(*parse.StringNode); ok {
			return label.Text
		}
	}
	if len(args) > 0 && len(path) > 1 { // last is a method of the field
		last = path[len(path)-2]
	}
	return strings.ToUpper(last)
}
