// Package discovery has what programs that verify tokens read of an issuer: its URL, the
// document of OpenID Connect Discovery 1.0, and the keys (RFC 7517). It makes the documents,
// writes them as files for a web server, and compares what the world sees with what is
// signed.
//
// It knows nothing of keys but their public form, and nothing of who serves the documents.
package discovery
