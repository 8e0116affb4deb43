// Package issuer is the issuer of tokens as the world sees it: the name in every token's iss,
// the documents by which others verify tokens, and the command that publishes them.
//
// A change of the name is written down before the first token has the new one, with the
// former name and until when it counts. So a token that was good stays good until it expires,
// whenever the gateway is killed.
//
// What it promises of the hook: it runs after each change of the documents, also if the
// gateway was killed in between, one at a time, and again after a failure. What it does not
// promise: that there is a run for each of two changes that follow each other closely.
package issuer
