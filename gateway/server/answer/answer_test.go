package answer

import (
	"net/http"
	"net/http/httptest"
	"strings"
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

// TestUnknownField: what a newer client asks for is refused, and not left undone.
func TestUnknownField(t *testing.T) {
	var q api.FilesRequest
	for body, want := range map[string]string{
		"":                         "",
		`{"remove":["a"]}`:         "",
		`{"remove":["a"],"new":1}`: `the gateway does not know "new", `,
		`{"remove":1}`:             "the request can't be read: ",
	} {
		err := Decode(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), &q)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
