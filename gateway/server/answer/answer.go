// Package answer is the form of the gateway's answers: results and errors as JSON, an error's
// status, and what is sent at once.
package answer

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
)

// JSON makes a handler that sends f's result as JSON, or its error.
func JSON(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := f(r)
		if err != nil {
			Fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
	})
}

// Fail answers with an error.
func Fail(w http.ResponseWriter, err error) {
	e := explain.Error(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(Status(e.Code))
	_ = json.NewEncoder(w).Encode(e) // an error means that the client has gone
}

// Decode reads a JSON body; an empty one leaves v as it is. A field that v does not have is an error:
// a newer client asks for what would else silently not be done.
func Decode(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if field, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown { // the field is quoted
		return &api.Error{Code: api.CodeInvalid,
			Message: "the gateway does not know " + field + ", which it is asked for: it may be older than what asks",
			Hint:    "openshell-vm gateway restart takes the newer one; sandboxes go on"}
	}
	return &api.Error{Code: api.CodeInvalid,
		Message: "the request can't be read: " + explain.Line(err),
		Hint:    "openshell-vm and openshell-gateway may be of different versions"}
}

// InPath finds what the ref in the path names, and calls f with it.
func InPath[T any](find func(string) (T, error), f func(*http.Request, T) (any, error)) http.Handler {
	return JSON(func(r *http.Request) (any, error) {
		it, err := find(r.PathValue("ref"))
		if err != nil {
			return nil, err
		}
		return f(r, it)
	})
}

// Flusher returns a writer that sends what is written to it at once.
func Flusher(w http.ResponseWriter) io.Writer { return flusher{w, http.NewResponseController(w)} }

type flusher struct {
	w          http.ResponseWriter
	controller *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.controller.Flush()
	}
	return n, err
}
