package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/secrets"
	"openshell-vm/gateway/server/answer"
)

// secretRoutes are about secrets. The body of a change is the content, as it is. No answer has
// any of it.
type secretRoutes struct{ secrets *secrets.Secrets }

func (s secretRoutes) add(mux *http.ServeMux) {
	mux.Handle("POST /v1/secrets/{name}", answer.JSON(func(r *http.Request) (any, error) {
		content, err := readContent(r)
		if err != nil {
			return nil, err
		}
		return s.secrets.Create(r.PathValue("name"), content)
	}))
	mux.Handle("PUT /v1/secrets/{name}", answer.JSON(func(r *http.Request) (any, error) {
		content, err := readContent(r)
		if err != nil {
			return nil, err
		}
		return s.secrets.Set(r.Context(), r.PathValue("name"), content)
	}))
	mux.Handle("GET /v1/secrets", answer.JSON(func(*http.Request) (any, error) { return s.secrets.All() }))
	mux.Handle("GET /v1/secrets/{name}", answer.JSON(func(r *http.Request) (any, error) { return s.secrets.Get(r.PathValue("name")) }))
	mux.Handle("DELETE /v1/secrets/{name}", answer.JSON(func(r *http.Request) (any, error) {
		return struct{}{}, s.secrets.Remove(r.Context(), r.PathValue("name"), r.URL.Query().Get("force") != "")
	}))
}

// readContent reads a body that is a secret's content.
func readContent(r *http.Request) ([]byte, error) {
	content, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) || len(content) > api.MaxSecretSize:
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the secret is larger than %d MiB", api.MaxSecretSize>>20),
			Hint: "mount a directory of your own for more: --mount"}
	case err != nil:
		return nil, &api.Error{Code: api.CodeInvalid, Message: "the secret did not come whole", Hint: "nothing was changed: try again"}
	case len(content) == 0:
		return nil, &api.Error{Code: api.CodeInvalid, Message: "the secret is empty",
			Hint: "nothing was changed: see whether what was to give it has failed"}
	}
	return content, nil
}
