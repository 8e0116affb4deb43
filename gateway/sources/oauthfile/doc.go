// Package oauthfile makes access tokens with a refresh token that lies in a file of the host.
//
// The refresh token leaves the host for the token endpoint only. A server may answer with
// another one, and take the old one no more. What is promised then:
//
//   - The new one is in the file before the access token is used anywhere. The file is replaced
//     whole, with the same mode and owner, and nothing in it changes but this token.
//   - The new file is made before the server is asked, beside the old one, as FILE.openshell-new.
//     So a directory that can't be written to is found out while nothing is lost.
//   - A gateway that is told to end waits a moment for the answer.
//   - A gateway that dies after the answer was written finishes that when it begins again. One
//     that dies between the server's answer and that write loses the new token: no client can
//     exclude that. The empty new file is then a mark that says so, if the server refuses.
//   - Whoever writes the file anew meanwhile, by a new login, wins.
//   - The file is locked (flock) while the server is asked: there is one refresher for a file, also
//     if it has several names or several gateways use it.
package oauthfile
