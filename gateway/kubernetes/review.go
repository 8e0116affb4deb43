package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"openshell-vm/gateway/oauth"
	"openshell-vm/internal/text"
)

// What a TokenReview says of a token that is bound to a pod.
const (
	extraPodName = "authentication.kubernetes.io/pod-name"
	extraPodUID  = "authentication.kubernetes.io/pod-uid"
)

// maxSaid bounds in bytes what of an API server's words gets into the audit log.
const maxSaid = 200

// reviewer asks the cluster's API server about each token. It keeps no answer, so a token is
// refused as soon as the API server knows that its pod or its ServiceAccount is gone. That one
// keeps a good answer for 10 s.
type reviewer struct {
	server   *server
	audience string

	mu      sync.Mutex
	problem error // of the last review; nil if it was answered
	asked   time.Time
}

// codec writes and reads reviews, and nothing else.
var codec = func() runtime.NegotiatedSerializer {
	scheme := runtime.NewScheme()
	if err := authentication.AddToScheme(scheme); err != nil {
		panic(err) // it would fail in each process
	}
	return serializer.NewCodecFactory(scheme).WithoutConversion()
}()

func (r *reviewer) vouch(ctx context.Context, t *token) *oauth.Refusal {
	leave, bad := r.server.enter()
	if bad != nil {
		return bad
	}
	defer leave()
	status, err := r.review(ctx, t.raw)
	r.server.tell(err)
	r.mu.Lock()
	r.problem, r.asked = err, time.Now()
	r.mu.Unlock()
	if err != nil {
		return outOfReach(err, "the cluster's API server can't review the token now")
	}
	k := t.claims.Kubernetes
	extra := func(name, value string) bool {
		return slices.Equal(status.User.Extra[name], authentication.ExtraValue{value})
	}
	switch {
	case !status.Authenticated:
		no := unfit("its cluster's API server does not take it")
		no.Detail = text.Short(status.Error, maxSaid) // an authenticator's error may name what is inside
		return no
	case !slices.Contains(status.Audiences, r.audience):
		return unfit("its cluster's API server did not look for whom it is")
	case status.User.Username != username(k.Namespace, k.ServiceAccount.Name) || status.User.UID != k.ServiceAccount.UID ||
		!extra(extraPodName, k.Pod.Name) || !extra(extraPodUID, k.Pod.UID):
		return unfit("its cluster's API server says that it is of another ServiceAccount or pod")
	}
	return nil
}

func (r *reviewer) review(ctx context.Context, raw string) (authentication.TokenReviewStatus, error) {
	var answer authentication.TokenReview
	client, err := r.client()
	if err != nil {
		return answer.Status, err
	}
	defer r.server.turn(ctx)()
	ask := &authentication.TokenReview{TypeMeta: meta.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
		Spec: authentication.TokenReviewSpec{Token: raw, Audiences: []string{r.audience}}}
	ctx = logr.NewContext(ctx, logr.Discard()) // client-go would log to the process's stderr, and may log bodies
	err = client.Post().Resource("tokenreviews").MaxRetries(0).Body(ask).Do(ctx).Into(&answer)
	return answer.Status, err
}

// client is client-go's, over the server's own connections.
func (r *reviewer) client() (*rest.RESTClient, error) {
	over, err := r.server.client()
	if err != nil {
		return nil, err
	}
	version := authentication.SchemeGroupVersion
	return rest.RESTClientForConfigAndClient(&rest.Config{Host: r.server.url, APIPath: "/apis", QPS: -1, WarningHandler: rest.NoWarnings{},
		ContentConfig: rest.ContentConfig{GroupVersion: &version, NegotiatedSerializer: codec}}, over)
}

func (r *reviewer) upkeep() {}

func (r *reviewer) status(now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.asked.IsZero():
		return "its API server reviews each token; none yet"
	case r.problem != nil:
		return "its API server reviews each token: " + text.Line(r.problem.Error())
	}
	return fmt.Sprintf("its API server reviews each token; the last one %v ago", now.Sub(r.asked).Truncate(time.Second))
}
