//go:build e2e

package programs_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// mintAWS is a command that prints what a credential_process does. The secret key is of no
// account: the session's token says whose it is.
func (s *servers) mintAWS(rw http.ResponseWriter, _ *http.Request) {
	token, ends := s.aws.issue()
	reply(rw, http.StatusOK, object{"Version": 1, "AccessKeyId": accessKey(token), "SecretAccessKey": "secret", "SessionToken": token,
		"Expiration": ends.UTC().Format(time.RFC3339)})
}

// accessKey is the id that goes with a session's token.
func accessKey(token string) string { return "ASIA" + token[:16] }

// stsServer is STS as far as GetCallerIdentity goes. Each call has to have the key's id and the
// token of one session, which has not ended. It does not look at the signature.
func stsServer(l *ledger) http.Handler {
	const format = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
		`<Arn>arn:aws:sts::123456789012:assumed-role/deploy/s</Arn><UserId>AROA:s</UserId><Account>123456789012</Account>` +
		`</GetCallerIdentityResult></GetCallerIdentityResponse>`
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("X-Amz-Security-Token")
		rw.Header().Set("Content-Type", "text/xml")
		if !l.take(token) || !strings.Contains(r.Header.Get("Authorization"), " Credential="+accessKey(token)+"/") {
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprint(rw, `<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>no</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprint(rw, format)
	})
}

// testAWS has AWS' library for Go call over several sessions.
func (w *world) testAWS(r *recipe) {
	w.host(w.dir("aws"), r.next("host"))
	w.named("uploader")
	w.file("uploader", "~/.aws/config", r.next("~/.aws/config"))
	ended := w.loop("uploader", "exec sdks aws")
	w.eventually("enough sessions have been used", 2*patience, func() bool { return w.Failed() || w.aws.turned(w) > w.rates.turns })
	w.Logf("calls of %s", strings.TrimSpace(ended()))
	w.aws.settle(w, w.rates.turns, func(token string) int {
		request, err := http.NewRequest(http.MethodPost, "https://"+stsName+"/", strings.NewReader(url.Values{"Action": {"GetCallerIdentity"}}.Encode()))
		w.must(err)
		request.Header.Set("X-Amz-Security-Token", token)
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+accessKey(token)+"/x")
		return w.call(stsName, request)
	})
}
