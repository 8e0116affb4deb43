package gateway

import (
	"context"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/server"
)

// Reload reads the settings again and brings the gateway into line with them. If they are bad,
// those in force stay, and the error says what is wrong.
func (g *Gateway) Reload(ctx context.Context) (api.Reloaded, error) {
	var result api.Reloaded
	err := g.config.Reload(func(before, after *config.Config) {
		for _, s := range after.Changed(before) {
			if !s.Once {
				result.Changed = append(result.Changed, server.Settings([]config.Setting{s})...)
			}
		}
	})
	if err != nil {
		g.log.Warn("the configuration can't be used; the one before stays in force", "error", explain.Line(err))
		e := explain.Error(err)
		e.Code = api.CodeInvalid
		return api.Reloaded{}, e
	}
	result.Warnings = g.config.Warnings()
	result.Pending = server.Settings(g.config.Pending())
	g.log.Info("the configuration was read again", "file", g.config.Now().File, "changed", len(result.Changed))
	return result, nil
}
