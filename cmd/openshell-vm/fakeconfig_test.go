package main

import (
	"net/http"

	"openshell-vm/gateway/api"
)

// configRoutes are a gateway whose configuration is good, or bad if there is a file bad-config.
func (f *fake) configRoutes(mux *http.ServeMux) {
	ttl := api.Setting{Name: "ttl", Value: "2h", Origin: "/etc/x/gateway.toml:3"}
	idle := api.Setting{Name: "idle-after", Value: "1h", Origin: "environment: OPENSHELL_IDLE_AFTER", Restart: true}
	mux.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
		c := api.Config{File: "/etc/x/gateway.toml", Settings: []api.Setting{{Name: "issuer", Origin: "default"}, ttl, idle},
			Pending: []api.Setting{idle}, Warnings: []string{"publish-for is 0"}}
		if f.read("bad-config") != "" {
			c.Problem, c.Hint = "read the configuration: /etc/x/gateway.toml:4: there is no setting \"tlt\"", "did you mean ttl?"
		}
		answer(w, c)
	})
	mux.HandleFunc("POST /v1/config/reload", func(w http.ResponseWriter, _ *http.Request) {
		switch f.read("bad-config") {
		case "":
			answer(w, api.Reloaded{Changed: []api.Setting{ttl}, Pending: []api.Setting{idle}, Republished: 2, Failed: 1})
		case "none":
			answer(w, api.Reloaded{})
		default:
			refuse(w, &api.Error{Code: api.CodeInvalid, Message: "read the configuration: /etc/x/gateway.toml:4: there is no setting \"tlt\"", Hint: "did you mean ttl?"})
		}
	})
}
