package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"openshell-vm/gateway/api"
)

// standIn serves in place of this environment's gateway. It has one sandbox.
func standIn() (remove func()) {
	dir, err := os.MkdirTemp("", "api") // short, for the socket
	if err != nil {
		log.Fatal(err)
	}
	state, sockets := filepath.Join(dir, "state"), filepath.Join(dir, "run", "g1")
	for _, d := range []string{state, sockets} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			log.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(state, api.IdentityFile), []byte(`{"id":"g1"}`), 0o600); err != nil {
		log.Fatal(err)
	}
	os.Setenv(api.EnvStateDir, state)
	os.Setenv(api.EnvRuntimeDir, filepath.Dir(sockets))
	listener, err := net.Listen("unix", filepath.Join(sockets, api.SocketFile))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.Status{ID: "g1", StateDir: state})
	})
	mux.HandleFunc("GET /v1/sandboxes/{ref}/token", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("ref") != "box" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write(api.EncodeError(&api.Error{Code: api.CodeNotFound, Message: "there is no such sandbox",
				Hint: "openshell-vm ps -a lists them"}))
			return
		}
		_ = json.NewEncoder(w).Encode(api.Token{Generation: 42})
	})
	go func() { _ = http.Serve(listener, mux) }()
	return func() {
		listener.Close()
		os.RemoveAll(dir)
		os.Unsetenv(api.EnvStateDir)
		os.Unsetenv(api.EnvRuntimeDir)
	}
}

// A program asks the gateway of its own user about a sandbox's token. Where no
// gateway listens Connect says so; EnsureStarted starts one.
func ExampleConnect() {
	defer standIn()()
	ctx := context.Background()
	client, err := api.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	token, err := client.Tokens.Get(ctx, "box")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the sandbox has generation", token.Generation)

	_, err = client.Tokens.Get(ctx, "bax")
	var answer *api.Error
	if errors.As(err, &answer) {
		fmt.Println("error:", answer.Message)
		fmt.Println("hint:", answer.Hint)
	}
	// Output:
	// the sandbox has generation 42
	// error: there is no such sandbox
	// hint: openshell-vm ps -a lists them
}
