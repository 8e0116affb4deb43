package answer

import (
	"net/http"

	"openshell-vm/gateway/api"
)

// statuses maps error codes to HTTP statuses.
var statuses = map[string]int{
	api.CodeInvalid: http.StatusBadRequest, api.CodeNotFound: http.StatusNotFound, api.CodeConflict: http.StatusConflict,
	api.CodeDriver: http.StatusBadGateway, api.CodeVersion: http.StatusUpgradeRequired, api.CodeForbidden: http.StatusForbidden,
	api.CodeNotExecutable: http.StatusUnprocessableEntity, api.CodeNoCommand: http.StatusUnprocessableEntity,
	api.CodeInternal: http.StatusInternalServerError, api.CodeOverloaded: http.StatusInsufficientStorage,
	api.CodeEnding: http.StatusServiceUnavailable, api.CodeNotSeen: http.StatusGatewayTimeout,
}

// Status returns an error code's status. A code without one is a fault of the gateway.
func Status(code string) int {
	if status, ok := statuses[code]; ok {
		return status
	}
	return http.StatusInternalServerError
}
