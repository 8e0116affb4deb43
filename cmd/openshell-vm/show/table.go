package show

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"openshell-vm/internal/text"
)

// Table is what lists print: a heading, then a row for each thing. Cells may
// hold any text. Each is printed as one harmless line.
type Table struct {
	rows [][]string
	// least is for each column how narrow it may become. One with 0 is never cut.
	least []int
}

const columnGap = "   "

// NewTable begins a table. A column's name may end in "~WIDTH": its least width.
func NewTable(columns ...string) *Table {
	t := &Table{}
	var names []string
	for _, c := range columns {
		name, least := c, 0
		if i := strings.IndexByte(c, '~'); i >= 0 {
			name = c[:i]
			_, _ = fmt.Sscan(c[i+1:], &least)
		}
		names, t.least = append(names, name), append(t.least, least)
	}
	t.Add(names...)
	return t
}

// Add adds a row with a cell for each column.
func (t *Table) Add(cells ...string) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = text.Line(c)
	}
	t.rows = append(t.rows, row)
}

// Print writes the table in at most width columns, if the cells that may be cut allow it.
// With 0 nothing is cut.
func (t *Table) Print(w io.Writer, width int) error {
	widths := t.widths(width)
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			cell = text.Short(cell, widths[i])
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-text.Width(cell)) + columnGap)
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// widths gives each column as much as its widest cell takes. If the rows do not fit, the
// widest column that may be cut becomes narrower, until they do.
func (t *Table) widths(width int) []int {
	widths := make([]int, len(t.least))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], text.Width(cell))
		}
	}
	total := len(columnGap) * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; width > 0 && total > width; total-- {
		widest := -1
		for i, w := range widths {
			if t.least[i] > 0 && w > t.least[i] && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// TerminalWidth is that of standard output in columns; 0 if it is no terminal.
func TerminalWidth() int {
	cols, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	return cols
}
