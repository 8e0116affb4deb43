package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/server/answer"
)

// gatewayRoutes are about the gateway itself and its host.
type gatewayRoutes struct {
	Parts
	opts Options
}

func (s gatewayRoutes) add(mux *http.ServeMux) {
	mux.Handle("GET /v1/status", answer.JSON(s.getStatus))
	mux.Handle("GET /v1/doctor", answer.JSON(func(r *http.Request) (any, error) { return s.doctor(r.Context()), nil }))
	mux.HandleFunc("POST /v1/stop", s.postStop)
}

func (s gatewayRoutes) getStatus(*http.Request) (any, error) {
	n := s.Census.Count(time.Now())
	return api.Status{ID: s.Roster.Home.ID, Version: s.opts.Version, PID: os.Getpid(), StartedAt: s.opts.StartedAt,
		StateDir: s.Roster.Home.State, RuntimeDir: s.Roster.Home.Runtime, Socket: s.Roster.Home.Socket(),
		Supervisor: s.opts.Supervisor, Unit: s.opts.Unit, Environment: api.OwnEnvironment(), Advice: s.advice(),
		Sandboxes: n.All, Running: n.Running, Shares: n.Shares, Failing: n.Failing,
		Unreadable: s.Roster.Unread(""), Short: s.Reserves.Short(), Further: s.further()}, nil
}

// further are lines about what is configured.
func (s gatewayRoutes) further() (facts []api.Fact) {
	say := func(name, value string) {
		if value != "" {
			facts = append(facts, api.Fact{Name: name, Value: value})
		}
	}
	say("Configuration", s.Config.Now().File)
	if problem := s.Config.Problem(); problem != nil {
		say("Configuration", "the last good one is in force: "+explain.Line(problem))
	}
	for _, pending := range s.Config.Pending() {
		say("Configuration", fmt.Sprintf("%s = %s waits for a restart: openshell-vm gateway restart", pending.Name, pending.Value))
	}
	return append(facts, s.opts.Issuer()...)
}

// postStop answers first, and then makes the gateway end.
func (s gatewayRoutes) postStop(w http.ResponseWriter, r *http.Request) {
	answer.JSON(func(*http.Request) (any, error) { return struct{}{}, nil }).ServeHTTP(w, r)
	_ = http.NewResponseController(w).Flush() // if the client has gone, the gateway ends all the same
	s.Roster.Log.Info("stop was asked for")
	s.opts.Stop()
}

// doctor returns the drivers' reports and the facts on the host.
func (s gatewayRoutes) doctor(ctx context.Context) api.Doctor {
	d := s.Fleet.Engines.Doctor(ctx)
	d.Host = s.hostFacts()
	return d
}
