package lease

import (
	"bytes"
	"strings"
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/share"
)

// putOff notes that files beside the tokens have changed and the disk has no room for that, and
// tries again later. No token is due, so this is no renewal that failed. It returns false if no
// such file has changed.
func (l *Lease) putOff(k *Keeper, files []share.File) bool {
	held := heldBack(l.Share().AuthDir(), files)
	if held == "" {
		return false
	}
	at := time.Now().Add(schedule.LongestRetry)
	l.mu.Lock()
	known := l.held == held
	l.held = held
	if due := l.renewal.Due; due.Before(at) {
		at = due
	}
	l.schedule(at)
	l.tell()
	l.mu.Unlock()
	l.holder.Delivered()
	if !known {
		k.opts.Log.Warn("the disk has no room for changed files; they are as they were before", "sandbox", l.id,
			"name", l.holder.Name(), "files", strings.TrimSuffix(held, ","))
	}
	return true
}

// heldBack returns the names of files that may be published later and that the share has with
// another content or not at all, as share.Published.Held does.
func heldBack(auth string, files []share.File) (held string) {
	has, _ := share.Read(auth) // an error means that it holds nothing
	for _, f := range files {
		if data, there := has.Files[f.Name]; f.Later && (!there || !bytes.Equal(data, f.Data)) {
			held += f.Name + ","
		}
	}
	return held
}
