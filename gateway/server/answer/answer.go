// Package answer is the form of the gateway's answers: results and errors as JSON, an error's
// status, and what is sent at once.
package answer

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

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

// Decode reads a JSON body; an empty one leaves v as it is.
func Decode(r *http.Request, v any) error {
	err := json.NewDecoder(r.Body).Decode(v)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
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
