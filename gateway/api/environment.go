package api

import (
	"fmt"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"
)

// EngineVariables are the environment variables that say where the container engines listen.
// The gateway reads them and VMVariables from the environment in which it was started.
var EngineVariables = []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
	"CONTAINER_HOST"}

// Hypervisors are the names of the vm driver's hypervisors, and auto. A test compares them
// with the driver's own list.
var Hypervisors = []string{"auto", "krun", "qemu"}

// VMVariables are the environment variables that choose the programs and files for VMs.
var VMVariables = []string{"OPENSHELL_QEMU", "OPENSHELL_VIRTIOFSD", "OPENSHELL_BUSYBOX", "OPENSHELL_LIBKRUN", "OPENSHELL_LIBKRUNFW",
	"OPENSHELL_KERNEL", "OPENSHELL_ACCEL", "OPENSHELL_BOOT_DEADLINE", "OPENSHELL_REQUIRE_JAIL"}

// engineGroups are groups whose members may use an engine or a device. Joining a group takes
// effect at the next login.
var engineGroups = []string{"docker", "kvm"}

// Environment is what decides which engines and devices a process can use. It is fixed when
// the process starts. Passwords in addresses are left out.
type Environment struct {
	Variables []Fact `json:"variables"` // those of EngineVariables and VMVariables that are set
	Path      string `json:"path"`
	Groups    []int  `json:"groups"` // docker and kvm grant access by group
}

// OwnEnvironment returns this process's Environment.
func OwnEnvironment() *Environment {
	e := &Environment{Path: os.Getenv("PATH"), Variables: []Fact{}}
	groups, _ := os.Getgroups() // none after an error
	e.Groups = append(groups, os.Getegid())
	for _, name := range slices.Concat(EngineVariables, VMVariables) {
		if value := os.Getenv(name); value != "" {
			e.Variables = append(e.Variables, Fact{Name: name, Value: withoutPassword(value)})
		}
	}
	return e
}

func withoutPassword(value string) string {
	u, err := url.Parse(value)
	if err != nil || u.User == nil {
		return value
	}
	return u.Redacted()
}

func (e *Environment) value(name string) string {
	for _, f := range e.Variables {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Stale says in one line each how a gateway differs from a caller: in its version, and in the
// environment in which it was started. An older gateway does not report its environment; for
// that one only the version counts.
func (s Status) Stale(version string, caller *Environment) []string {
	var lines []string
	if s.Version != version {
		lines = append(lines, fmt.Sprintf("it is of version %s, this is %s", s.Version, version))
	}
	if s.Environment == nil {
		return lines
	}
	for _, name := range slices.Concat(EngineVariables, VMVariables) {
		if has, wants := s.Environment.value(name), caller.value(name); has != wants {
			lines = append(lines, fmt.Sprintf("%s is %s here, and %s there", name, orUnset(wants), orUnset(has)))
		}
	}
	for _, gid := range caller.Groups {
		if name := groupName(gid); !slices.Contains(s.Environment.Groups, gid) && slices.Contains(engineGroups, name) {
			lines = append(lines, "it was started without your group "+name)
		}
	}
	return lines
}

func orUnset(value string) string {
	if value == "" {
		return "unset"
	}
	return value
}

// groupName returns a group's name; "" if it has none.
func groupName(gid int) string {
	g, err := user.LookupGroupId(strconv.Itoa(gid))
	if err != nil {
		return ""
	}
	return g.Name
}
