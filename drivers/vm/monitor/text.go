package monitor

import "openshell-vm/internal/text"

// maxLine is how much of a line that a guest wrote is shown, in runes.
const maxLine = 500

// printable makes a line that a guest wrote fit for a user's terminal.
func printable(s string) string { return text.Short(s, maxLine) }
