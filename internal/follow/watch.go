package follow

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// maxDirs bounds how many directories are watched. Files in others are looked at now and then.
const maxDirs = 4096

// watches are the directories that are watched, each once, for all files. fsnotify holds a lock
// while it asks the kernel for a watch, and that may hang with a file system. So only one
// goroutine asks, and nothing waits for it.
type watches struct {
	opts  Options
	found chan string   // locations that changed
	over  chan struct{} // capacity 1: events were lost
	wake  chan struct{} // capacity 1: there is something in wanted

	mu     sync.Mutex                    // a leaf; never held over a system call
	files  map[string]map[*file]struct{} // by location
	places map[*file][]string            // the locations of a file
	dirs   map[string]*dir
	wanted map[string]bool // directories to watch, or to watch no more
	told   bool
}

// dir is a directory in which something is followed.
type dir struct {
	uses  int       // how many locations
	asked time.Time // when the kernel was asked to watch it
}

func newWatches(o Options) *watches {
	return &watches{opts: o, found: make(chan string), over: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		files: map[string]map[*file]struct{}{}, places: map[*file][]string{}, dirs: map[string]*dir{}, wanted: map[string]bool{}}
}

// open begins to watch, until end. If it can't, files are only looked at.
func (w *watches) open() (end func()) {
	if w.opts.NoEvents {
		return func() {}
	}
	inotify, err := fsnotify.NewWatcher()
	if err != nil {
		w.complain(err)
		return func() {}
	}
	ended := make(chan struct{})
	go w.pump(inotify, ended)
	go w.ask(inotify, ended)
	return func() {
		close(ended)
		go inotify.Close() // it waits for who asks, who may hang
	}
}

// pump passes events on.
func (w *watches) pump(inotify *fsnotify.Watcher, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case e := <-inotify.Events:
			for _, location := range []string{e.Name, anywhere(filepath.Dir(e.Name))} {
				if len(w.at(location)) == 0 {
					continue // a busy directory has many other files
				}
				select {
				case w.found <- location:
				case <-ended:
				}
			}
		case err := <-inotify.Errors:
			if err != nil && !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.complain(err)
			}
			select {
			case w.over <- struct{}{}:
			default:
			}
		}
	}
}

// ask has the kernel watch what is wanted.
func (w *watches) ask(inotify *fsnotify.Watcher, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case <-w.wake:
		}
		w.mu.Lock()
		wanted := w.wanted
		w.wanted = map[string]bool{}
		w.mu.Unlock()
		for path, watch := range wanted {
			if !watch {
				_ = inotify.Remove(path) // it may be gone
			} else if err := inotify.Add(path); errors.Is(err, unix.ENOSPC) {
				w.complain(err)
			}
		}
	}
}

// complain logs once that changes may be seen late.
func (w *watches) complain(err error) {
	w.mu.Lock()
	told := w.told
	w.told = true
	w.mu.Unlock()
	if !told {
		w.opts.Log.Warn("changes of followed files can't be watched; they are looked at instead", "every", w.opts.Every, "error", err)
	}
}

// at returns the files to which a location belongs.
func (w *watches) at(location string) map[*file]struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.files[location])
}

// watch watches the directories of a file's locations, in place of those of before.
func (w *watches) watch(one *file, locations []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(locations)
	locations = slices.Compact(locations) // a directory's have many links in common
	for _, location := range locations {
		w.enter(one, location)
	}
	for _, location := range w.places[one] {
		if _, found := slices.BinarySearch(locations, location); !found {
			w.leave(one, location)
		}
	}
	w.places[one] = locations
	w.nudge()
}

// enter adds a location of a file. The caller holds mu.
func (w *watches) enter(one *file, location string) {
	path, now := filepath.Dir(location), time.Now()
	d := w.dirs[path]
	if d == nil {
		d = &dir{}
		w.dirs[path] = d
	}
	if w.files[location] == nil {
		w.files[location] = map[*file]struct{}{}
	}
	if _, is := w.files[location][one]; !is {
		w.files[location][one] = struct{}{}
		d.uses++
	}
	// Again now and then: the directory may have been made anew.
	if now.Sub(d.asked) > w.opts.Every/2 && len(w.dirs) <= maxDirs {
		d.asked, w.wanted[path] = now, true
	}
}

// leave takes a file from a location. The caller holds mu.
func (w *watches) leave(one *file, location string) {
	if _, is := w.files[location][one]; !is {
		return
	}
	delete(w.files[location], one)
	if len(w.files[location]) == 0 {
		delete(w.files, location)
	}
	path := filepath.Dir(location)
	if d := w.dirs[path]; d != nil {
		if d.uses--; d.uses == 0 {
			delete(w.dirs, path)
			w.wanted[path] = false
		}
	}
}

// forget ends what watch began for a file.
func (w *watches) forget(one *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, location := range w.places[one] {
		w.leave(one, location)
	}
	delete(w.places, one)
	w.nudge()
}

// nudge wakes who asks the kernel. The caller holds mu.
func (w *watches) nudge() {
	if len(w.wanted) == 0 {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
