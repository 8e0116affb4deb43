package command

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/internal/procfs"
)

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	t.Setenv("PLANTED", "the gateway's own")
	t.Setenv("PATH", "/nonexistent")
	out, err := Run(t.Context(), []string{"printenv"}, 4096)
	env := string(out)
	if err != nil || !strings.Contains(env, "PATH="+SearchPath+"\n") || !strings.Contains(env, "HOME=") || strings.Contains(env, "PLANTED") {
		t.Errorf("its environment: %q, %v", env, err)
	}
	for name, c := range map[string]struct {
		argv []string
		says string
	}{
		"fails":          {[]string{script(t, "echo a secret; echo a secret >&2; exit 3")}, "exit status 3"},
		"is killed":      {[]string{script(t, "kill -9 $$")}, "signal: killed"},
		"prints nothing": {[]string{script(t, "echo")}, "prints nothing"},
		"floods":         {[]string{"yes"}, "at most 4 KiB"},
		"is missing":     {[]string{"/nonexistent/program"}, "no such file"},
		"is not found":   {[]string{"no-such-program-here"}, "there is no program"},
		"is a directory": {[]string{"/etc"}, "permission denied"},
		"wrong format":   {[]string{noProgram(t)}, "it can't be run"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := Run(t.Context(), c.argv, 4096)
			if err == nil || out != nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q, %v; want %q", out, err, c.says)
			}
		})
	}
}

func noProgram(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte{0, 1, 2}, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNothingIsLeft: what a command leaves in the background, or when its time is over, is killed with
// it.
func TestNothingIsLeft(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	gone := func(pidFile string) {
		t.Helper()
		var pid int
		for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			text, _ := os.ReadFile(pidFile)
			pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
			if pid != 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || isZombie(pid) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("process %d still runs", pid)
			}
		}
	}
	if out, err := Run(t.Context(), []string{script(t, "sleep 1000 & echo $! >"+pidFile+"; echo done")}, 100); err != nil || string(out) != "done\n" {
		t.Errorf("%q, %v", out, err)
	}
	gone(pidFile)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(pidFile + "2"); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	text := fmt.Sprintf("sleep 1000 & echo $! >%s3; mv %s3 %s2; wait", pidFile, pidFile, pidFile)
	if _, err := Run(ctx, []string{script(t, text)}, 100); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	gone(pidFile + "2")

	// What has left its process group, its session and its parents, and keeps the output open.
	daemon := func(name string) string {
		return fmt.Sprintf("(setsid sh -c 'setsid sleep 1000 & echo $! >%s; wait' & ) ; until test -s %s; do :; done", pidFile+name, pidFile+name)
	}
	if out, err := Run(t.Context(), []string{script(t, daemon("4")+"; echo done")}, 100); err != nil || string(out) != "done\n" {
		t.Errorf("%q, %v", out, err)
	}
	gone(pidFile + "4")
	if _, err := Run(t.Context(), []string{script(t, daemon("5")+"; yes")}, 100); !errors.Is(err, ErrFlood) {
		t.Errorf("flooded: %v", err)
	}
	gone(pidFile + "5")
}

// TestNothingOutlivesTheGateway: what a command started ends when the process that runs it is
// killed.
func TestNothingOutlivesTheGateway(t *testing.T) {
	if path := os.Getenv("RUN_THIS"); path != "" {
		_, _ = Run(t.Context(), []string{path}, 100)
		return
	}
	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command("/proc/self/exe", "-test.run", t.Name()+"$")
	cmd.Env = append(os.Environ(), "RUN_THIS="+script(t, fmt.Sprintf("(setsid sleep 1000 & echo $! >%s.new); mv %s.new %s; wait; sleep 1000", pidFile, pidFile, pidFile)))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for end := time.Now().Add(time.Minute); pid == 0; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(pidFile)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		if time.Now().After(end) {
			t.Fatal("the command does not run")
		}
	}
	if !procfs.Runs(pid) {
		t.Fatal("nothing runs that could be left")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	for end := time.Now().Add(time.Minute); procfs.Runs(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

// isZombie reports whether a process has ended, and whoever inherited it has not reaped it yet.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && pid != 0 && strings.Contains(string(stat), ") Z ")
}

func TestCheckAndFiles(t *testing.T) {
	for _, bad := range [][]string{nil, {""}, {"a\nb"}, {"./x"}, {"x/y"}, {"a", strings.Repeat("x", maxArgs)}} {
		if Check(bad) == nil {
			t.Errorf("%.40q is accepted", bad)
		}
	}
	file := script(t, "")
	files, err := Files([]string{"sh", file, "-c", "--config=" + file, "/none", "no/such", "-C", "etc", filepath.Dir(file), "word"})
	want := []string{"/usr/bin/sh", file, "/none", "/no/such", "/etc", filepath.Dir(file)}
	for _, path := range want[1:] {
		if !slices.Contains(files, path) {
			t.Errorf("%s is not looked at", path)
		}
	}
	if err != nil || slices.Contains(files, "/word") || slices.Contains(files, "/-c") {
		t.Errorf("%q, %v", files, err)
	}
}

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := now.Add(time.Hour).Format(time.RFC3339)
	for name, c := range map[string]struct {
		data, format string
		want         time.Duration // 0 for none
		fails        bool
	}{
		"aws":                  {`{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":"c","Expiration":"` + at + `"}`, "", time.Hour, false},
		"aws without expiry":   {`{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b"}`, AWS, 0, false},
		"aws version 2":        {`{"Version":2,"AccessKeyId":"a","SecretAccessKey":"b"}`, "", 0, true},
		"aws is not":           {`{}`, AWS, 0, true},
		"kubernetes":           {`{"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"` + at + `"}}`, "", time.Hour, false},
		"kubernetes, none":     {`{"kind":"ExecCredential","status":{"token":"t"}}`, "", 0, false},
		"kubernetes, nothing":  {`{"kind":"ExecCredential","status":{}}`, "", 0, true},
		"oauth":                {`{"access_token":"x","expires_in":3600}`, "", time.Hour, false},
		"oauth text":           {`{"access_token":"x","expires_in":"3600"}`, "", time.Hour, false},
		"oauth negative":       {`{"access_token":"x","expires_in":-1}`, "", 0, true},
		"oauth huge":           {`{"access_token":"x","expires_in":1e300}`, "", 0, true},
		"jwt":                  {jwt(`{"exp":` + fmt.Sprint(now.Add(time.Hour).Unix()) + `}`), "", time.Hour, false},
		"jwt expired":          {jwt(`{"exp":12}`), "", 0, true},
		"jwt without":          {jwt(`{}`), JWT, 0, false},
		"jwt is not":           {"a.b.c", JWT, 0, true},
		"raw":                  {"gho_something\n", "", 0, false},
		"raw is forced":        {`{"access_token":"x","expires_in":1}`, Raw, 0, false},
		"bad time":             {`{"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"tomorrow"}}`, "", 0, true},
		"expired":              {`{"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2020-01-01T00:00:00Z"}}`, "", 0, true},
		"no such format":       {"x", "xml", 0, true},
		"half of a JSON":       {`{"access_token":"a secr`, OAuth, 0, true},
		"JSON of another kind": {`{"Version":"1","AccessKeyId":7}`, "", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Expiry([]byte(c.data), c.format, now)
			switch {
			case c.fails != (err != nil):
				t.Errorf("%v, %v", got, err)
			case err != nil && strings.Contains(err.Error(), "secr"):
				t.Errorf("the error quotes the output: %v", err)
			case c.want == 0 != got.IsZero(), c.want != 0 && !got.Equal(now.Add(c.want)):
				t.Errorf("expires %v", got)
			}
		})
	}
}

func jwt(claims string) string {
	b64 := func(s string) string { return strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(s)), "=") }
	return b64(`{"alg":"RS256"}`) + "." + b64(claims) + "." + b64("signature") + "\n"
}

func FuzzExpiry(f *testing.F) {
	f.Add(`{"access_token":"x","expires_in":3600}`, "")
	f.Add(jwt(`{"exp":1}`), JWT)
	f.Add(`{"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2020-01-01T00:00:00Z"}}`, Kubernetes)
	f.Fuzz(func(t *testing.T, data, format string) {
		now := time.Unix(1e9, 0)
		if at, err := Expiry([]byte(data), format, now); err == nil && !at.IsZero() && !at.After(now) {
			t.Errorf("%q as %q expires at %v", data, format, at)
		}
	})
}
