//go:build e2e

package kubernetes_test

import (
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestExamplesApply has a real API server take each manifest, strictly, and judge the pods by its
// Pod Security admission: both namespaces take only pods that are restricted.
func TestExamplesApply(t *testing.T) {
	c := start(t, "prod")
	server := manifests(t, "gateway.yaml")
	all := append(server, manifests(t, "agent.yaml")...)
	for _, m := range all {
		c.create(m.path, m.object)
	}
	deployment := one[*apps.Deployment](t, server)
	pod := &core.Pod{TypeMeta: meta.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: deployment.Spec.Template.Spec}
	pod.Name = "of-the-deployment"
	c.create("/api/v1/namespaces/openshell/pods", pod)

	root := false
	pod.Name, pod.Spec.SecurityContext.RunAsNonRoot = "as-root", &root
	if _, err := c.core.Pods("openshell").Create(t.Context(), pod, meta.CreateOptions{}); err == nil {
		t.Error("the namespace takes any pod")
	}
	for _, p := range []struct{ namespace, name string }{{"openshell", "of-the-deployment"}, {"agents", "agent"}} {
		made, err := c.core.Pods(p.namespace).Get(t.Context(), p.name, meta.GetOptions{})
		c.must(err)
		c.remove(made)
	}
}
