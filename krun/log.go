package krun

import (
	"os"
	"sync"
)

// LogLevel is how much libkrun logs.
type LogLevel uint32

const (
	LogOff LogLevel = iota
	LogError
	LogWarn
	LogInfo
	LogDebug
	LogTrace
)

// LogStyle says when the log has colours.
type LogStyle uint32

const (
	LogStyleAuto LogStyle = iota
	LogStyleAlways
	LogStyleNever
)

// Log says where and how libkrun logs. The zero value logs nothing.
type Log struct {
	File  *os.File // gets the log, by a descriptor of libkrun's own; nil for standard error
	Level LogLevel
	Style LogStyle
	NoEnv bool // ignore the environment's RUST_LOG and RUST_LOG_STYLE
}

// SetLogLevel starts logging to standard error, at level or as RUST_LOG says. libkrun
// panics if logging is started twice in a process. So after SetLogLevel or InitLog has
// succeeded once, further calls are refused, also by another Library of the same file.
func (l *Library) SetLogLevel(level LogLevel) error {
	return l.startLog(setLogLevel, Log{Level: level}, u32(level))
}

// InitLog starts logging. See SetLogLevel.
func (l *Library) InitLog(c Log) error {
	options := u32(0)
	if c.NoEnv {
		options = 1
	}
	return l.startLog(initLog, c, file{c.File}, u32(c.Level), u32(c.Style), options)
}

// logging knows which libraries' logging was started, by the address of krun_create_ctx.
var logging = struct {
	sync.Mutex
	started map[address]bool
}{started: map[address]bool{}}

func (l *Library) startLog(f fn, c Log, args ...arg) error {
	name := bound[f].Name
	if _, err := l.gate(f); err != nil {
		return err
	}
	// libkrun takes a higher level for LogTrace, and closes the descriptor if it refuses
	// a style.
	if c.Level > LogTrace || c.Style > LogStyleNever {
		return invalid(name, "the level %d or the style %d does not exist", c.Level, c.Style)
	}
	logging.Lock()
	defer logging.Unlock()
	if logging.started[l.addresses[createCtx]] {
		return invalid(name, "logging was started before")
	}
	// The descriptor is libkrun's, also after an error: libkrun may have closed it.
	if _, err := duplicateFiles(name, args); err != nil {
		return err
	}
	if err := l.do(f, args...); err != nil {
		return err
	}
	logging.started[l.addresses[createCtx]] = true
	return nil
}
