// Package config reads a gateway's settings.
//
// A setting comes from one of four places. A flag of openshell-gateway goes before an
// environment variable, that before the file, and that before the default. Each value keeps
// the place that it came from, with the line of the file.
//
// The file is TOML, read strictly: an unknown name or a value of the wrong kind refuses all of
// it. Whoever can write the file can have programs run (hook), so one that others can write is
// refused, too.
//
// A gateway that runs has a [Live]. A file that turns bad changes nothing there: the last good
// settings stay, over restarts as well, and the problem is told.
package config
