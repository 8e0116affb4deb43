package answer

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"openshell-vm/gateway/api"
)

// TestUnknownCode: an error code without an HTTP status is answered with 500.
func TestUnknownCode(t *testing.T) {
	w := httptest.NewRecorder()
	Fail(w, &api.Error{Message: "an error without a code"})
	if w.Code != http.StatusInternalServerError || Status(api.CodeNotFound) != http.StatusNotFound {
		t.Errorf("status %d, and %d for what is not there", w.Code, Status(api.CodeNotFound))
	}
}
