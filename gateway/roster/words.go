package roster

import (
	"crypto/rand"
	"fmt"
	"math/big"
)

// newName makes up a name that is not taken.
func newName(taken func(string) bool) string {
	for {
		name := adjectives[pick(len(adjectives))] + "-" + nouns[pick(len(nouns))]
		if !taken(name) {
			return name
		}
		if name = fmt.Sprintf("%s-%d", name, pick(10000)); !taken(name) {
			return name
		}
	}
}

var adjectives = []string{
	"able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cosy", "crisp",
	"daring", "deft", "eager", "early", "fair", "fleet", "fond", "fresh", "gentle", "glad", "golden", "grand",
	"happy", "hardy", "honest", "jolly", "keen", "kind", "light", "lively", "loyal", "lucid", "mellow", "merry",
	"mild", "neat", "nimble", "noble", "patient", "plucky", "polite", "proud", "quick", "quiet", "rapid", "ready",
	"silver", "simple", "sleek", "smart", "snug", "solid", "spry", "steady", "sunny", "swift", "tidy", "vivid", "warm", "wise",
}

var nouns = []string{
	"abalone", "ammonite", "argonaut", "auger", "bivalve", "bonnet", "cameo", "clam", "cockle", "conch", "cone", "coquina",
	"cowrie", "cuttle", "drill", "drupe", "fig", "frog", "geoduck", "harp", "helmet", "junonia", "keyhole", "lampshell",
	"limpet", "mitre", "moon", "murex", "mussel", "nautilus", "nerite", "olive", "oyster", "periwinkle", "piddock", "pearl",
	"quahog", "razor", "scallop", "slipper", "spindle", "squid", "sundial", "tellin", "top", "triton", "tulip", "turban",
	"turret", "tusk", "venus", "volute", "wentletrap", "whelk", "winkle", "worm",
}

func pick(n int) int {
	i, _ := rand.Int(rand.Reader, big.NewInt(int64(n))) // never fails: it ends the program instead
	return int(i.Int64())
}
