package kubernetes_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlreader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"openshell-vm/gateway/config"
	"openshell-vm/gateway/kubernetes"
)

const examples = "../../examples/kubernetes"

// kind is one that the examples have: its type, and where an API server takes it.
type kind struct {
	path string // with %s for the namespace, if it is in one
	make func() meta.Object
}

var kinds = map[string]kind{
	"v1 Namespace":             {"/api/v1/namespaces", func() meta.Object { return &core.Namespace{} }},
	"v1 ServiceAccount":        {"/api/v1/namespaces/%s/serviceaccounts", func() meta.Object { return &core.ServiceAccount{} }},
	"v1 ConfigMap":             {"/api/v1/namespaces/%s/configmaps", func() meta.Object { return &core.ConfigMap{} }},
	"v1 Service":               {"/api/v1/namespaces/%s/services", func() meta.Object { return &core.Service{} }},
	"v1 Pod":                   {"/api/v1/namespaces/%s/pods", func() meta.Object { return &core.Pod{} }},
	"v1 PersistentVolumeClaim": {"/api/v1/namespaces/%s/persistentvolumeclaims", func() meta.Object { return &core.PersistentVolumeClaim{} }},
	"apps/v1 Deployment":       {"/apis/apps/v1/namespaces/%s/deployments", func() meta.Object { return &apps.Deployment{} }},
	"rbac.authorization.k8s.io/v1 ClusterRole": {
		"/apis/rbac.authorization.k8s.io/v1/clusterroles", func() meta.Object { return &rbac.ClusterRole{} }},
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": {
		"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", func() meta.Object { return &rbac.ClusterRoleBinding{} }},
}

// manifest is one object of a file.
type manifest struct {
	kind   string
	path   string
	object meta.Object
}

// manifests reads a file of the examples. A field that the types don't have, or one that is there
// twice, is an error.
func manifests(t testing.TB, name string) (all []manifest) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, name))
	if err != nil {
		t.Fatal(err)
	}
	for reader := yamlreader.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var is meta.TypeMeta
		if err == nil {
			err = yaml.Unmarshal(document, &is)
		}
		k, known := kinds[is.APIVersion+" "+is.Kind]
		if err != nil || !known {
			t.Fatalf("%s: %v, %q", name, err, is)
		}
		m := manifest{kind: is.Kind, path: k.path, object: k.make()}
		if err := yaml.UnmarshalStrict(document, m.object); err != nil {
			t.Fatalf("%s: %s: %v", name, is.Kind, err)
		}
		if namespace := m.object.GetNamespace(); strings.Contains(m.path, "%s") {
			m.path = fmt.Sprintf(m.path, namespace)
		} else if namespace != "" {
			t.Errorf("%s: a %s is in no namespace", name, is.Kind)
		}
		all = append(all, m)
	}
	return all
}

// one returns the only object of its type.
func one[T meta.Object](t testing.TB, all []manifest) (object T) {
	t.Helper()
	n := 0
	for _, m := range all {
		if o, ok := m.object.(T); ok {
			object, n = o, n+1
		}
	}
	if n != 1 {
		t.Fatalf("there are %d of %T", n, object)
	}
	return object
}

// TestExamplesAgree: each name in the examples is one that there is.
func TestExamplesAgree(t *testing.T) {
	server, client := manifests(t, "gateway.yaml"), manifests(t, "agent.yaml")
	deployment, service := one[*apps.Deployment](t, server), one[*core.Service](t, server)
	pod, template := one[*core.Pod](t, client), one[*apps.Deployment](t, server).Spec.Template
	for _, all := range [][]manifest{server, client} {
		namespace := one[*core.Namespace](t, all).Name
		for _, m := range all {
			if strings.Contains(m.path, "/namespaces/") && m.object.GetNamespace() != namespace {
				t.Errorf("%s %s is in the namespace %q", m.kind, m.object.GetName(), m.object.GetNamespace())
			}
		}
	}
	same(t, "the gateway's ServiceAccount", template.Spec.ServiceAccountName, one[*core.ServiceAccount](t, server).Name)
	same(t, "the agent's ServiceAccount", pod.Spec.ServiceAccountName, one[*core.ServiceAccount](t, client).Name)
	binding, role := one[*rbac.ClusterRoleBinding](t, server), one[*rbac.ClusterRole](t, server)
	same(t, "the role", binding.RoleRef.Name, role.Name)
	same(t, "who has it", binding.Subjects[0].Namespace+"/"+binding.Subjects[0].Name, deployment.Namespace+"/"+template.Spec.ServiceAccountName)
	same(t, "the Deployment's pods", fmt.Sprint(deployment.Spec.Selector.MatchLabels), fmt.Sprint(template.Labels))
	same(t, "the Service's pods", fmt.Sprint(service.Spec.Selector), fmt.Sprint(template.Labels))
	if live := template.Spec.Containers[0].LivenessProbe; live == nil || live.Exec == nil {
		t.Error("whoever floods the listener can have the gateway ended: its liveness is asked there")
	} else {
		same(t, "how it is asked whether it lives", fmt.Sprint(live.Exec.Command), "[openshell-vm gateway status]")
	}
	ports := template.Spec.Containers[0].Ports
	same(t, "the Service's port", service.Spec.Ports[0].TargetPort.StrVal, ports[0].Name)
	mounts(t, template.Spec, []string{one[*core.ConfigMap](t, server).Name, one[*core.PersistentVolumeClaim](t, server).Name, "openshell-gateway-tls"})
	mounts(t, pod.Spec, []string{"openshell-ca"})
	readme(t, "openshell-gateway-tls", "openshell-ca")

	c := settings(t, one[*core.ConfigMap](t, server).Data["gateway.toml"])
	same(t, "the port", c.Listen, fmt.Sprintf("0.0.0.0:%d", ports[0].ContainerPort))
	cluster := c.Clusters["prod"]
	same(t, "the API server's way to check", cluster.Check, config.ByReview)
	same(t, "what the role allows", fmt.Sprint(role.Rules[0].Resources, role.Rules[0].Verbs), "[tokenreviews] [create]")
	allow, env := cluster.Allow[0], environment(pod.Spec.InitContainers[0])
	same(t, "who is allowed", allow.Namespace+"/"+allow.ServiceAccount, pod.Namespace+"/"+pod.Spec.ServiceAccountName)
	same(t, "for whom", fmt.Sprint(allow.Audiences), "["+env["AUDIENCE"]+"]")
	same(t, "where it asks", env["OPENSHELL_GATEWAY_URL"], "https://"+service.Name+"."+service.Namespace+".svc")
	same(t, "the URL's port", fmt.Sprint(service.Spec.Ports[0].Port), "443")
	same(t, "the mode", env["OPENSHELL_SANDBOX_AUTH_MODE"], "kubernetes-service-account-exchange")
	projected := source(t, pod.Spec, filepath.Dir(env["OPENSHELL_SANDBOX_TOKEN_FILE"])).Projected.Sources[0].ServiceAccountToken
	same(t, "its own token is for", projected.Audience, cluster.Audience)
	same(t, "its file", projected.Path, filepath.Base(env["OPENSHELL_SANDBOX_TOKEN_FILE"]))
	// The kubelet replaces a token when a fifth of its life is left, so what the loop gets lives that long at least.
	every, least := 300*time.Second, min(kubernetes.MaxLife, time.Duration(*projected.ExpirationSeconds)*time.Second/5)
	if !strings.Contains(pod.Spec.InitContainers[0].Command[2], fmt.Sprintf("sleep %d\n", int(every.Seconds()))) || 2*every > least {
		t.Errorf("the loop asks every %v for what may live for %v", every, least)
	}
	if !strings.Contains(strings.Join(pod.Spec.InitContainers[0].Command, " "), environment(pod.Spec.Containers[0])["ANTHROPIC_IDENTITY_TOKEN_FILE"]) {
		t.Error("the agent reads another file than is written")
	}
}

func same(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q and %q", what, got, want)
	}
}

// settings has the gateway judge a configuration.
func settings(t testing.TB, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func environment(c core.Container) map[string]string {
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	return env
}

// mounts: each volume is mounted, each mount has its volume, and what a volume comes from is there.
func mounts(t testing.TB, pod core.PodSpec, there []string) {
	t.Helper()
	mounted := map[string]bool{}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, m := range c.VolumeMounts {
			mounted[m.Name] = true
		}
	}
	for _, v := range pod.Volumes {
		if !mounted[v.Name] {
			t.Errorf("the volume %s is not mounted", v.Name)
		}
		delete(mounted, v.Name)
		from := ""
		switch {
		case v.ConfigMap != nil:
			from = v.ConfigMap.Name
		case v.Secret != nil:
			from = v.Secret.SecretName
		case v.PersistentVolumeClaim != nil:
			from = v.PersistentVolumeClaim.ClaimName
		}
		if from != "" && !slices.Contains(there, from) {
			t.Errorf("the volume %s is of %s, which there is not", v.Name, from)
		}
	}
	for name := range mounted {
		t.Errorf("there is no volume %s", name)
	}
}

// source is the volume that the pod's first container has at a path.
func source(t testing.TB, pod core.PodSpec, path string) core.VolumeSource {
	t.Helper()
	for _, m := range slices.Concat(pod.InitContainers, pod.Containers)[0].VolumeMounts {
		for _, v := range pod.Volumes {
			if m.MountPath == path && v.Name == m.Name {
				return v.VolumeSource
			}
		}
	}
	t.Fatalf("nothing is mounted at %s", path)
	return core.VolumeSource{}
}

// readme: the page says how what no manifest makes is made.
func readme(t testing.TB, names ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !regexp.MustCompile(`kubectl [^\n]*create [^\n]*` + name).Match(text) {
			t.Errorf("README.md does not make %s", name)
		}
	}
}
