package krunvm

import (
	"bytes"
	"testing"
)

func TestConfigTravels(t *testing.T) {
	sent := Config{
		Library: "/lib/libkrun.so.1", Firmware: "/lib/libkrunfw.so.5", CPUs: 2, MemoryMiB: 512,
		Root: "/vm/root", Init: "/openshell-init", Disk: "/vm/upper.ext4",
	}
	var pipe bytes.Buffer
	if err := sent.Write(&pipe); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(&pipe); err != nil || got != sent {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestValidate(t *testing.T) {
	good := Config{Library: "/l", Firmware: "/f", CPUs: 1, MemoryMiB: 128, Root: "/r", Init: "/i"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no CPU":          func(c *Config) { c.CPUs = 0 },
		"too many CPUs":   func(c *Config) { c.CPUs = 256 },
		"no memory":       func(c *Config) { c.MemoryMiB = 0 },
		"too much memory": func(c *Config) { c.MemoryMiB = MaxMemoryMiB + 1 },
		"no library":      func(c *Config) { c.Library = "" },
		"bare firmware":   func(c *Config) { c.Firmware = "libkrunfw.so.5" },
		"unclean root":    func(c *Config) { c.Root = "/r/../s" },
		"relative init":   func(c *Config) { c.Init = "init" },
		"relative disk":   func(c *Config) { c.Disk = "disk" },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
