package sources

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/internal/vocab"
)

// tokenServer is a token endpoint that rotates, and the file for it.
func tokenServer(w *world) (path string, asked *atomic.Int64) {
	asked = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		n := asked.Add(1)
		if r.FormValue("refresh_token") != fmt.Sprint("r", n-1) {
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `{"error":"invalid_grant"}`)
			return
		}
		fmt.Fprintf(rw, `{"access_token":"a%d","token_type":"bearer","expires_in":3600,"refresh_token":"r%d"}`, n, n)
	}))
	w.Cleanup(server.Close)
	return w.write("o.json", `{"client_id":"c","refresh_token":"r0","token_endpoint":"`+server.URL+`"}`), asked
}

// TestMade: a hundred shares have one refresher; what a share holds is taken after a restart; the
// last good token stays when the server refuses, and the file by itself or a sandbox's is refused.
func TestMade(t *testing.T) {
	w := newWorld(t)
	path, asked := tokenServer(w)
	list := []vocab.Source{{Name: "o", OAuth: path}}
	if err := w.await(list...); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		w.Show(fmt.Sprint("box", i), list)
	}
	w.eventually("all are told", func() bool { return len(w.told()) >= 100 })
	// Await's release and Show may be apart: the feed may have been made twice, but never at once.
	made := asked.Load()
	files, err := Shown{w.Sources, list, w.dir}.Files(1)
	if err != nil || len(files) != 2 || files[0].Name != "o/metadata.json" || string(files[1].Data) != fmt.Sprint("a", made) {
		t.Fatalf("%v, %v", files, err)
	}
	held := map[string][]byte{}
	for _, f := range files {
		held[f.Name] = f.Data
	}

	next := newWorld(t) // the next gateway
	next.opts.Held = func(string) map[string][]byte { return held }
	next.Show("box1", list)
	next.eventually("it is taken as it is", func() bool { return next.State(list[0]).Has })
	st := next.State(list[0])
	if asked.Load() != made || time.Until(st.ExpiresAt) < 50*time.Minute || time.Until(st.NextAt) < 20*time.Minute {
		t.Errorf("asked %d times after %d; %+v", asked.Load(), made, st)
	}
	other := []vocab.Source{{Name: "o", OAuth: filepath.Join(w.dir, "..", filepath.Base(w.dir), "o.json")}}
	other[0].OAuth = strings.Replace(path, "/o.json", "/./o.json", 1) // another source by its key
	next.Show("box2", other)
	next.eventually("another source makes its own", func() bool { return asked.Load() == made+1 })

	next.eventually("that has ended", func() bool { return next.State(other[0]).Has })
	w.write("o.json", strings.Replace(string(must(os.ReadFile(path))), fmt.Sprint(`"r`, made+1, `"`), `"gone"`, 1))
	next.due.Set(keyOf(list[0]), time.Now(), time.Now())
	next.eventually("it is told", func() bool {
		p := next.Problems(list, time.Now())
		return len(p) == 1 && strings.Contains(p[0], "invalid_grant") && strings.Contains(p[0], "log in again")
	})
	files, err = Shown{next.Sources, list, w.dir}.Files(2)
	if err != nil || len(files) != 2 || string(files[1].Data) != fmt.Sprint("a", made) {
		t.Errorf("%v, %v", files, err)
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// TestMadeRefused: what a sandbox can write is not used, and the reason is told.
func TestMadeRefused(t *testing.T) {
	w := newWorld(t)
	path, asked := tokenServer(w)
	w.refused = fmt.Errorf("a sandbox can write it")
	for _, spec := range []vocab.Source{{Name: "o", OAuth: path},
		{Name: "g", GitHubApp: &vocab.GitHubApp{App: "1", Installation: 2, Key: path, URL: "http://127.0.0.1:1"}}} {
		if err := w.await(spec); err == nil || !strings.Contains(err.Error(), "a sandbox can write it") {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	if asked.Load() != 0 {
		t.Error("it was used")
	}
}

// TestClockSetBack: what was made in the future is made anew.
func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	path, asked := tokenServer(w)
	list := []vocab.Source{{Name: "o", OAuth: path}}
	w.Show("box", list)
	w.eventually("it is made", func() bool { return w.State(list[0]).Has })
	w.ClockStepped()
	w.Sources.mu.Lock()
	w.feeds[keyOf(list[0])].state.MadeAt = time.Now().Add(time.Hour).Round(0)
	w.Sources.mu.Unlock()
	w.ClockStepped()
	w.eventually("it is made anew", func() bool { return asked.Load() == 2 })
}

func TestCompleteMade(t *testing.T) {
	app := vocab.GitHubApp{App: "1", Installation: 2, Key: "/k"}
	got, err := Complete([]vocab.Source{{Name: "g", GitHubApp: &app}, {Name: "o", OAuth: "/o"}}, nil)
	if err != nil || !slices.Equal(Names(got), []string{"g", "o"}) {
		t.Errorf("%+v, %v", got, err)
	}
	relative := app
	relative.Key = "k"
	for name, bad := range map[string]vocab.Source{
		"relative key":  {Name: "g", GitHubApp: &relative},
		"relative file": {Name: "o", OAuth: "o"},
		"no app":        {Name: "g", GitHubApp: &vocab.GitHubApp{Key: "/k"}},
		"both":          {Name: "g", GitHubApp: &app, OAuth: "/o"},
		"every":         {Name: "o", OAuth: "/o", Every: time.Minute},
		"format":        {Name: "g", GitHubApp: &app, Format: "raw"},
	} {
		if _, err := Complete([]vocab.Source{bad}, nil); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
