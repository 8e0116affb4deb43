// Command reader is the witness of the end-to-end tests inside a sandbox. It opens the token
// path again and again, and reports each reading as one JSON line, without the token itself. The
// host judges. With -whoami it asks the gateway what that knows of tokens.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// reading is one line. Error is set if the file can't be read or does not have the form of a
// JWT. Then the other fields say how far the reading got.
type reading struct {
	KeyID      string `json:"kid,omitempty"`
	Generation uint64 `json:"gen,omitempty"`
	Hash       string `json:"hash,omitempty"` // SHA-256 of the file, hex
	Opened     int64  `json:"opened"`         // when the read began, by this sandbox's clock, in ns
	UnixNano   int64  `json:"t"`              // when it had ended
	Before     int64  `json:"before"`         // when the reading before this one began; 0 if there is none
	Error      string `json:"error,omitempty"`
}

func main() {
	path := flag.String("path", "/etc/openshell/auth/sandbox.jwt", "token file")
	count := flag.Int("count", 1, "readings; 0 for no end")
	every := flag.Duration("every", 10*time.Millisecond, "pause between readings")
	changes := flag.Bool("changes", false, "report only readings that differ from the one before, and errors")
	asked := flag.Bool("asked", false, "read once for each line of standard input")
	who := flag.Bool("whoami", false, "ask the gateway whose the file's token is, and those on standard input, one a line")
	whole := flag.String("versions", "", "read the named files of this share again and again, and tell their version")
	flag.Parse()
	switch {
	case *who:
		whoami(*path)
		return
	case *whole != "":
		versions(*whole, flag.Args())
		return
	}

	in, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
	last, before := "", int64(0)
	for n := 0; *count == 0 || n < *count; n++ {
		if *asked && !in.Scan() {
			return
		}
		r := read(*path)
		r.Before, before = before, r.Opened
		if !*changes || r.Hash != last || r.Error != "" {
			line, _ := json.Marshal(r)
			fmt.Fprintf(out, "%s\n", line)
			if out.Flush() != nil {
				return // nobody listens any more
			}
			last = r.Hash
		}
		time.Sleep(*every)
	}
}

func read(path string) (r reading) {
	r.Opened = time.Now().UnixNano()
	data, err := os.ReadFile(path)
	r.UnixNano = time.Now().UnixNano()
	if err != nil {
		r.Error = err.Error()
		return r
	}
	sum := sha256.Sum256(data)
	r.Hash = hex.EncodeToString(sum[:])
	parts := strings.Split(strings.TrimSpace(string(data)), ".")
	if len(parts) != 3 {
		r.Error = fmt.Sprintf("%d bytes with %d parts, a JWT has 3", len(data), len(parts))
		return r
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	var claims struct {
		Generation uint64 `json:"gen"`
	}
	if err := decode(parts[0], &header); err != nil {
		r.Error = "header: " + err.Error()
	} else if err := decode(parts[1], &claims); err != nil {
		r.Error = "claims: " + err.Error()
	}
	r.KeyID, r.Generation = header.KeyID, claims.Generation
	return r
}

func decode(part string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
