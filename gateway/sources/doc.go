// Package sources keeps the files of shares fresh that are no tokens of the gateway's: a file of
// the host that is followed, the output of a command of the host, a token of a GitHub App, an
// access token that a refresh token gives.
//
// A [Source] of a record names such a file. However many shares show the same, there is one
// feed: the file is followed once, the command runs once and never twice at the same time. When
// a feed has something new, each share that shows it gets a new generation.
//
// What it promises: a feed that fails keeps its last good content, is tried again, and its
// shares' warnings say so. After a restart of the gateway the last good content is what the
// share holds. A publish waits for no feed. Contents are in memory and in shares only: no
// record, log line or error holds any of it.
package sources
