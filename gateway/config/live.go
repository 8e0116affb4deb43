package config

import (
	"sync"
)

// Live is the configuration of a gateway that runs. It is safe for concurrent use.
type Live struct {
	reader Reader
	keep   string // where the last good settings are kept; "" for nowhere

	reloading sync.Mutex // held over a Reload

	mu      sync.RWMutex
	now     *Config
	first   *Config // those with which the gateway began
	problem error   // why the settings are not those of the file; nil if they are
	unsaved error   // why there is no copy of the file
}

// Open reads the settings. If they are bad, it takes those that were good last, of which the
// file keep has a copy: a gateway that is started again must not leave its sandboxes without
// tokens because of a slip of the pen. If there is no copy, it returns an *Error.
func Open(r Reader, keep string) (*Live, error) {
	l := &Live{reader: r, keep: keep}
	c, err := r.Read()
	if err != nil {
		old, oldErr := l.lastGood()
		if oldErr != nil {
			return nil, err
		}
		l.now, l.first, l.problem = old, old, err
		return l, nil
	}
	l.now, l.first = c, c
	l.unsaved = l.save(c)
	return l, nil
}

// Now returns the settings that are in force. Nobody changes them.
func (l *Live) Now() *Config {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.now
}

// Problem returns why the settings in force are not those of the file; nil if they are.
func (l *Live) Problem() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.problem
}

// Warnings are what should be known of the settings in force, one line each.
func (l *Live) Warnings() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	lines := l.now.Warnings()
	if l.unsaved != nil {
		lines = append(lines, l.unsaved.Error())
	}
	return lines
}

// Pending returns the settings that a restart of the gateway would change: it was asked for
// them since it began, and it does not change them while it runs.
func (l *Live) Pending() (list []Setting) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, s := range l.now.Changed(l.first) {
		if s.Once {
			list = append(list, s)
		}
	}
	return list
}

// Reload reads the settings again, and calls apply with those before and after, unless they
// are bad: then those before stay in force, and Problem tells.
func (l *Live) Reload(apply func(before, after *Config)) error {
	l.reloading.Lock()
	defer l.reloading.Unlock()
	before := l.Now()
	after, err := l.reader.Read()
	if err != nil {
		l.mu.Lock()
		l.problem = err
		l.mu.Unlock()
		return err
	}
	unsaved := l.save(after)
	l.mu.Lock()
	l.now, l.problem, l.unsaved = after, nil, unsaved
	l.mu.Unlock()
	apply(before, after)
	return nil
}
