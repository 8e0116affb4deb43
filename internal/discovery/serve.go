package discovery

import (
	"log/slog"
	"net/http"
	"time"
)

// Handler serves the documents at their paths, in the same way wherever verifiers ask.
type Handler struct {
	Documents func(now time.Time) (Documents, error) // called for each request
	Log       *slog.Logger                           // gets why they can't be made; who asks is not told
}

// Register adds the handler to a mux.
func (h Handler) Register(mux *http.ServeMux) {
	mux.Handle(ConfigurationPath, h)
	mux.Handle(KeysPath, h)
}

// ServeHTTP answers with one document. Any path but the documents' is not found.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	of, kind := Documents.configuration, ConfigurationType
	switch r.URL.Path {
	case ConfigurationPath:
	case KeysPath:
		of, kind = Documents.keys, KeysType
	default:
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
		return
	}
	documents, err := h.Documents(time.Now())
	body := of(documents)
	switch {
	case err != nil:
		h.Log.Warn("the issuer's documents can't be made", "error", err)
		http.Error(w, "the documents can't be made now", http.StatusInternalServerError)
	case body == nil:
		http.Error(w, "the gateway's issuer has no URL: set issuer in its configuration", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", documents.CacheControl())
		_, _ = w.Write(body) // an error means that the client has gone
	}
}

func (d Documents) configuration() []byte { return d.Configuration }
func (d Documents) keys() []byte          { return d.Keys }
