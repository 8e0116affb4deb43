package tokens

import (
	"errors"
	"strings"
)

// Pod is a subject that is no sandbox of the gateway's: a pod of a Kubernetes cluster, which
// somebody else vouched for. Its tokens are for others; there is none for the gateway.
type Pod struct {
	Cluster           string `json:"cluster"` // as this gateway names it
	Namespace         string `json:"namespace"`
	ServiceAccount    string `json:"serviceAccount"`
	ServiceAccountUID string `json:"serviceAccountUID"`
	Name              string `json:"pod"`
	UID               string `json:"podUID"`
}

// Subject returns a pod's subject.
func (p Pod) Subject(trustDomain string) string {
	return "spiffe://" + trustDomain + "/kubernetes/" + strings.Join([]string{p.Cluster, p.Namespace, p.ServiceAccount, p.Name}, "/")
}

const (
	maxLabel = 63 // of DNS, for a cluster or a namespace
	maxName  = 253
)

// Check refuses what can't be a pod by Kubernetes' rules. Its names are one part of a SPIFFE path
// each.
func (p Pod) Check() error {
	switch {
	case !IsDNSLabel(p.Cluster):
		return errors.New("the cluster's name is no DNS label")
	case !IsDNSLabel(p.Namespace):
		return errors.New("the namespace is no DNS label")
	case !IsDNSName(p.ServiceAccount):
		return errors.New("the ServiceAccount's name is no DNS name")
	case !IsDNSName(p.Name):
		return errors.New("the pod's name is no DNS name")
	case !validID(p.UID) || !validID(p.ServiceAccountUID):
		return errors.New("the pod or the ServiceAccount has no uid")
	}
	return nil
}

func (p *Pod) check() error {
	if p == nil {
		return nil
	}
	return p.Check()
}

// IsDNSLabel reports whether s is a DNS label by Kubernetes' rules: the name of a namespace.
func IsDNSLabel(s string) bool {
	return len(s) <= maxLabel && !strings.Contains(s, ".") && IsDNSName(s)
}

// IsDNSName reports whether s is a DNS name by Kubernetes' rules: the name of a ServiceAccount or
// a pod.
func IsDNSName(s string) bool {
	if len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}

// pod is the claims' pod; nil in a sandbox's token.
func (w *wire) pod() *Pod {
	if w.About == nil {
		return nil
	}
	return w.About.Pod
}
