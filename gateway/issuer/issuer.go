package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/discovery"
	"openshell-vm/internal/plainfile"
	"openshell-vm/tokens"
)

// Keys are the keys whose public halves others need; *tokens.Keys is one.
type Keys interface {
	JWKS(now time.Time) ([]byte, error)
	// Want makes a key for each of the algorithms that has none.
	Want(now time.Time, wanted ...tokens.Algorithm) error
}

// Name is what tokens say of who made them.
type Name struct {
	URL         string `json:"url,omitempty"` // "" stands for openshell-gateway:<id>
	TrustDomain string `json:"trustDomain"`
}

// OwnTrustDomain is the trust domain where none is configured.
const OwnTrustDomain = "openshell"

// Former is a name that tokens had until it was changed.
type Former struct {
	Name
	Until time.Time `json:"until"` // its last token has expired then
}

// record is what outlives a gateway.
type record struct {
	Format int      `json:"format"`
	Now    Name     `json:"now"`
	Former []Former `json:"former,omitempty"`
	Told   string   `json:"told,omitempty"` // what the hook has published last
	Shown  shown    `json:"shown,omitzero"`
}

// shown is which keys the hook has published for the present issuer.
type shown struct {
	By   string               `json:"by"`   // the command
	Keys map[string]time.Time `json:"keys"` // by id: since when; never changed, only replaced
}

// has reports whether a command has published all of these keys.
func (s shown) has(by string, kids []string) bool {
	return s.By == by && !slices.ContainsFunc(kids, func(kid string) bool { return s.Keys[kid].IsZero() })
}

// with is what is shown after a command has published these keys, and no others.
func (s shown) with(by string, kids []string, now time.Time) shown {
	next := shown{By: by, Keys: map[string]time.Time{}}
	for _, kid := range kids {
		next.Keys[kid] = now
		if since := s.Keys[kid]; s.By == by && !since.IsZero() {
			next.Keys[kid] = since
		}
	}
	return next
}

const (
	format    = 1
	maxRecord = 64 << 10
	maxFormer = 50
	slack     = time.Minute // for tokens that are being minted while the name changes
)

// Issuer is one gateway's. It is safe for concurrent use.
type Issuer struct {
	path string
	keys Keys

	changing sync.Mutex // held over a change, while the disk is written; nobody who mints waits for it

	mu         sync.RWMutex // taken under changing
	record     record       // its slices are never changed, only replaced
	publishFor time.Duration
	kept       time.Time // until then others may keep documents that were served with a longer publishFor
	noted      bool      // the record is on disk as it is here
}

// Open reads what the gateway before left at path. A file that can't be read is told in the log
// and replaced at the next change: then tokens of former names are refused, and their shares
// get new ones at once.
func Open(path string, keys Keys, log *slog.Logger) *Issuer {
	i := &Issuer{path: path, keys: keys, noted: true, record: record{Format: format, Now: Name{TrustDomain: OwnTrustDomain}}}
	r, err := read(path)
	switch {
	case err == nil:
		i.record = r
	case !errors.Is(err, fs.ErrNotExist):
		i.noted = false
		log.Warn("which issuers there were before can't be read: tokens of theirs are replaced now", "error", err)
	}
	return i
}

func read(path string) (r record, err error) {
	text, err := plainfile.Read(path, maxRecord)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if r.Format != format || r.Now.TrustDomain == "" {
		return r, fmt.Errorf("%s has the format %d, this program reads %d", path, r.Format, format)
	}
	return r, nil
}

// Configure changes the name, and for how long a key is public before it signs. It reports
// whether the name is another one now: then every share needs a new token. If the change can't
// be written down, nothing changes. With a URL there are keys of all kinds from now on: others
// should know them before the first token is signed with them.
func (i *Issuer) Configure(name Name, publishFor time.Duration, now time.Time) (changed bool, err error) {
	i.changing.Lock()
	defer i.changing.Unlock()
	if name.URL != "" {
		if err := i.keys.Want(now, tokens.ES256, tokens.RS256); err != nil {
			return false, fmt.Errorf("make keys that others take: %w", err)
		}
	}
	i.mu.Lock()
	if until := now.Add(i.publishFor); publishFor < i.publishFor && until.After(i.kept) {
		i.kept = until
	}
	i.publishFor = publishFor
	next, noted := i.record, i.noted
	i.mu.Unlock()
	if name == next.Now && noted {
		return false, nil
	}
	changed = name != next.Now
	next.Former = next.former(name, now)
	if name.URL != next.Now.URL {
		next.Shown = shown{} // others look elsewhere now
	}
	next.Now = name
	if err := i.commit(next); err != nil {
		return false, fmt.Errorf("change the issuer: %w", err)
	}
	return changed, nil
}

// commit replaces the record, on disk first. The caller holds changing.
func (i *Issuer) commit(next record) error {
	text, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(i.path, i.path+".new", append(text, '\n'), atomicfile.Durable); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.record, i.noted = next, true
	return nil
}

// former returns the names that were before next, one entry for each.
func (r record) former(next Name, now time.Time) (list []Former) {
	if r.Now != next {
		list = append(list, Former{r.Now, now.Add(tokens.MaxTTL + slack)})
	}
	for _, f := range r.Former {
		if now.Before(f.Until) && f.Name != next && f.Name != r.Now && len(list) < maxFormer {
			list = append(list, f)
		}
	}
	return list
}

// Name returns the name that tokens get now.
func (i *Issuer) Name() Name {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.record.Now
}

// Former returns the names before, whose tokens may not have expired yet, the last one first.
func (i *Issuer) Former(now time.Time) []Former {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return slices.DeleteFunc(slices.Clone(i.record.Former), func(f Former) bool { return !now.Before(f.Until) })
}

// PublishFor is how long a key is public before it signs.
func (i *Issuer) PublishFor() time.Duration {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.publishFor
}

// Ahead is for how long a key that is made now has to be public before it signs. After PublishFor
// was lowered that is more for a while: who fetched the keys before may keep them for longer.
func (i *Issuer) Ahead(now time.Time) time.Duration {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return max(i.publishFor, i.kept.Sub(now))
}

// Documents returns what verifiers fetch, of the time now.
func (i *Issuer) Documents(now time.Time) (discovery.Documents, error) {
	set, err := i.keys.JWKS(now)
	if err != nil {
		return discovery.Documents{}, err
	}
	return discovery.Make(i.Name().URL, set, i.PublishFor())
}

// told returns what the hook has published last, in the form of tell, and which keys.
func (i *Issuer) told() (what string, keys shown) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.record.Told, i.record.Shown
}

// tell notes what a command has published, and for which issuer.
func (i *Issuer) tell(what, by, url string, kids []string, now time.Time) error {
	i.changing.Lock()
	defer i.changing.Unlock()
	i.mu.RLock()
	next := i.record
	i.mu.RUnlock()
	next.Told = what
	if url == next.Now.URL {
		next.Shown = next.Shown.with(by, kids, now)
	}
	return i.commit(next)
}
