package request

import (
	"testing"

	"openshell-vm/gateway/api"
)

func TestCheckRestartAndLabels(t *testing.T) {
	for _, q := range []api.CreateRequest{
		{Restart: api.RestartPolicy{Name: "sometimes"}}, {Restart: api.RestartPolicy{Name: "always", Max: 3}},
		{Restart: api.RestartPolicy{Name: "on-failure", Max: -1}}, {Restart: api.RestartPolicy{Name: "always"}, AutoRemove: true},
		{Labels: map[string]string{"": "x"}}, {Labels: map[string]string{"openshell.ai/sandbox-id": "x"}}, {Labels: map[string]string{"a": "b\x1b[2J"}},
		{Labels: map[string]string{"a": string(make([]byte, maxLabels))}},
	} {
		if err := Check(&q); err == nil {
			t.Errorf("taken: %+v", q)
		}
	}
	for _, q := range []api.CreateRequest{
		{Restart: api.RestartPolicy{Name: "no"}, AutoRemove: true}, {Restart: api.RestartPolicy{Name: "on-failure", Max: 3}},
		{Labels: map[string]string{"com.example/team": "a=b"}},
	} {
		if err := Check(&q); err != nil {
			t.Error(err)
		}
	}
}
