package request

import (
	"reflect"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

func TestPublishedPorts(t *testing.T) {
	for text, want := range map[string][]api.Port{
		"80":                      {{Guest: 80}},
		"8080:80":                 {{Host: 8080, Guest: 80}},
		"8080:80/tcp":             {{Host: 8080, Guest: 80}},
		"53:5353/udp":             {{Host: 53, Guest: 5353, Protocol: "udp"}},
		"0:80":                    {{Guest: 80}},
		"127.0.0.1:0:80/udp":      {{HostIP: "127.0.0.1", Guest: 80, Protocol: "udp"}},
		"127.0.0.1:8080:80":       {{HostIP: "127.0.0.1", Host: 8080, Guest: 80}},
		"0.0.0.0::80":             {{HostIP: "0.0.0.0", Guest: 80}},
		"[::1]:80:81":             {{HostIP: "::1", Host: 80, Guest: 81}},
		"[::]::81/udp":            {{HostIP: "::", Guest: 81, Protocol: "udp"}},
		"8000-8002:9000-9002":     {{Host: 8000, Guest: 9000}, {Host: 8001, Guest: 9001}, {Host: 8002, Guest: 9002}},
		"9000-9001":               {{Guest: 9000}, {Guest: 9001}},
		"127.0.0.1:65535:1-1/tcp": {{HostIP: "127.0.0.1", Host: 65535, Guest: 1}},
	} {
		got, err := readPort(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v; wanted %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                   "is no port",
		"x":                  "is no port",
		"0":                  "is no port",
		"65536":              "is no port",
		"-1":                 "is no port",
		"80:":                "is no port",
		"80:80/sctp":         "tcp or udp",
		"80:80/tcp/udp":      "tcp or udp",
		"1-3:1-2":            "different lengths",
		"8000-8010:80":       "different lengths",
		"5-1:5-1":            "is no port",
		"::1:80:80":          "in [ ]",
		"[::1:80:80":         "]:",
		"1.2.3:80:80":        "no IP address",
		"localhost:80:80":    "no IP address",
		"127.0.0.1:80:80:80": "too many colons",
		"[::1]:1:2:3":        "too many colons",
	} {
		if got, err := readPort(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; wanted an error with %q", text, got, err, want)
		}
	}
}
