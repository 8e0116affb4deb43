package share_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"openshell-vm/share"
)

// newShare makes a share that the calling user owns.
func newShare() (s *share.Share, remove func()) {
	dir, err := os.MkdirTemp("", "share")
	if err != nil {
		log.Fatal(err)
	}
	s, err = share.Create(filepath.Join(dir, "agent"), share.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return s, func() { os.RemoveAll(dir) }
}

// Two files change at once. Whoever opens a name in AuthDir gets the whole file of
// the old or of the new generation.
func ExampleShare_Publish() {
	s, remove := newShare()
	defer remove()
	for _, password := range []string{"correct horse", "battery staple"} {
		p, err := s.Publish(context.Background(), 0, func(generation uint64) ([]share.File, error) {
			return []share.File{
				{Name: "password", Data: []byte(password)},
				{Name: "about", Data: fmt.Appendf(nil, "number %d", generation)},
			}, nil
		})
		if err != nil {
			log.Fatal(err) // the last good generation is still there
		}
		data, err := os.ReadFile(filepath.Join(s.AuthDir(), "password"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("generation %d: %s\n", p.Generation, data)
	}
	// Output:
	// generation 1: correct horse
	// generation 2: battery staple
}

// A reader that needs several files of one generation reads them together. It
// runs on the host or in a sandbox, with the directory that was mounted there.
func ExampleRead() {
	s, remove := newShare()
	defer remove()
	_, err := s.Publish(context.Background(), 0, func(uint64) ([]share.File, error) {
		return []share.File{{Name: "user", Data: []byte("ada")}, {Name: "password", Data: []byte("correct horse")}}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	snapshot, err := share.Read(s.AuthDir())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("generation %d: %s, %s\n", snapshot.Generation, snapshot.Files["user"], snapshot.Files["password"])
	// Output: generation 1: ada, correct horse
}

// A program that has to be told reads again whenever there is a new generation.
func ExampleWatch() {
	s, remove := newShare()
	defer remove()
	publish := func(password string) {
		_, err := s.Publish(context.Background(), 0, func(uint64) ([]share.File, error) {
			return []share.File{{Name: "password", Data: []byte(password)}}, nil
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	publish("correct horse")
	for generation, err := range share.Watch(context.Background(), s.AuthDir(), 0) {
		if err != nil {
			log.Fatal(err)
		}
		now, err := share.Read(s.AuthDir())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("generation %d: %s\n", generation, now.Files["password"])
		if generation == 2 {
			break
		}
		publish("battery staple")
	}
	// Output:
	// generation 1: correct horse
	// generation 2: battery staple
}
