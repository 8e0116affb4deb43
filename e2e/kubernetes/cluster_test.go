//go:build e2e

package kubernetes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"openshell-vm/internal/procfs"
)

// patience bounds one wait. Nothing here promises speed.
const patience = 2 * time.Minute

// clusterIssuer is who the tokens of every cluster say has made them.
const clusterIssuer = "https://kubernetes.default.svc.cluster.local"

// missing says why there can be no cluster; "" if there can.
var missing string

// TestMain says at the end what was not covered, and fails for it if E2E_REQUIRE_KUBERNETES is 1.
func TestMain(m *testing.M) {
	missing = lacks()
	sweep()
	dir := fmt.Sprint(runs, os.Getpid())
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		gateways = dir
		err = os.Setenv("OPENSHELL_KUBE", filepath.Join(dir, "k"))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	if _, err := os.Stat(os.Getenv("OPENSHELL_KUBE")); err == nil {
		_, err = script("stop")
		code = max(code, failed(err))
	}
	code = max(code, failed(os.RemoveAll(dir)))
	if missing != "" {
		fmt.Println("NOT COVERED: Kubernetes:", missing)
		if os.Getenv("E2E_REQUIRE_KUBERNETES") == "1" {
			fmt.Println("E2E_REQUIRE_KUBERNETES=1, so that is a failure")
			code = 1
		}
	}
	os.Exit(code)
}

// A run has a directory, with its process at the end of its name, which is short for sockets' sake.
// Its clusters are in k, and its gateways beside.
const runs = "/var/tmp/okube-"

// sweep ends what runs have left that were killed.
func sweep() {
	dirs, _ := filepath.Glob(runs + "*")
	for _, dir := range dirs {
		id, err := strconv.Atoi(strings.TrimPrefix(dir, runs))
		info, gone := os.Stat(dir)
		if err != nil || gone != nil || procfs.Runs(id) || int(info.Sys().(*syscall.Stat_t).Uid) != os.Getuid() {
			continue
		}
		homes, _ := filepath.Glob(dir + "/g*")
		for _, home := range homes {
			stop := exec.Command("../../bin/openshell-vm", "gateway", "stop")
			stop.Env = environ(home)
			err = errors.Join(err, stop.Run())
		}
		stop := exec.Command("../../scripts/kubernetes", "stop")
		stop.Env = append(os.Environ(), "OPENSHELL_KUBE="+filepath.Join(dir, "k"))
		fmt.Printf("what a run had left in %s is ended: %v\n", dir, errors.Join(err, stop.Run(), os.RemoveAll(dir)))
	}
}

func failed(err error) int {
	if err == nil {
		return 0
	}
	fmt.Println(err)
	return 1
}

// lacks returns what a cluster needs and is not here, and how it is got.
func lacks() string {
	out, err := script("path")
	if _, noEtcd := exec.LookPath("etcd"); err == nil && noEtcd != nil {
		return "there is no etcd: scripts/setup --kubernetes installs it"
	}
	if err != nil {
		return strings.TrimPrefix(strings.TrimSpace(out), "kubernetes: ")
	}
	return ""
}

// script runs scripts/kubernetes.
func script(args ...string) (string, error) {
	out, err := exec.Command("../../scripts/kubernetes", args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("scripts/kubernetes %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// cluster is an API server, and its admin's way to it.
type cluster struct {
	testing.TB
	name, dir, url string
	core           coreclient.CoreV1Interface
	rest           rest.Interface
}

// start starts a cluster, unless it runs. The same clusters serve all tests of a run.
func start(t testing.TB, name string) *cluster {
	t.Helper()
	if missing != "" {
		t.Skip(missing)
	}
	c := &cluster{TB: t, name: name, dir: filepath.Join(os.Getenv("OPENSHELL_KUBE"), name)}
	c.start()
	config := &rest.Config{Host: c.url, BearerTokenFile: filepath.Join(c.dir, "admin.token"), QPS: -1, Timeout: patience,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.ca()}}
	client, err := coreclient.NewForConfig(config)
	c.must(err)
	c.core, c.rest = client, client.RESTClient()
	return c
}

// starting is held while a cluster is started: all of them have one etcd.
var starting sync.Mutex

// start starts the API server if it does not run. Its port stays.
func (c *cluster) start() {
	c.Helper()
	starting.Lock()
	_, err := script("start", c.name)
	starting.Unlock()
	c.must(err)
	c.url = "https://127.0.0.1:" + c.read("port")
}

func (c *cluster) kill() {
	c.Helper()
	_, err := script("kill", c.name)
	c.must(err)
}

// restart gives the API server the keys that are in its directory now.
func (c *cluster) restart() {
	c.Helper()
	c.kill()
	c.start()
}

// signal sends a signal to the API server.
func (c *cluster) signal(s syscall.Signal) {
	c.Helper()
	pid, err := strconv.Atoi(c.read("apiserver.pid"))
	c.must(err)
	c.must(syscall.Kill(pid, s))
}

func (c *cluster) ca() string { return filepath.Join(c.dir, "ca.crt") }

func (c *cluster) read(name string) string {
	c.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, name))
	c.must(err)
	return strings.TrimSpace(string(text))
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// account makes a ServiceAccount, and its namespace, unless they are there.
func (c *cluster) account(namespace, name string) {
	c.Helper()
	_, err := c.core.Namespaces().Create(c.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}, meta.CreateOptions{})
	c.there(err)
	_, err = c.core.ServiceAccounts(namespace).Create(c.Context(), &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{})
	c.there(err)
}

func (c *cluster) there(err error) {
	c.Helper()
	if err != nil && !apierrors.IsAlreadyExists(err) {
		c.Fatal(err)
	}
}

// pod makes a pod of a ServiceAccount. It is not scheduled, so it goes at once when it is deleted.
func (c *cluster) pod(namespace, account, name string) *core.Pod {
	c.Helper()
	c.account(namespace, account)
	pod, err := c.core.Pods(namespace).Create(c.Context(), &core.Pod{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: core.PodSpec{
		ServiceAccountName: account, Containers: []core.Container{{Name: "agent", Image: "agent"}}}}, meta.CreateOptions{})
	c.must(err)
	c.Cleanup(func() {
		if c.remove(pod); c.Failed() {
			c.Logf("its log ends with\n%s", tail(filepath.Join(c.dir, "apiserver.log")))
		}
	})
	return pod
}

// remove deletes a pod; one that is gone already is fine.
func (c *cluster) remove(pod *core.Pod) {
	c.Helper()
	err := c.core.Pods(pod.Namespace).Delete(context.WithoutCancel(c.Context()), pod.Name, meta.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		c.Error(err)
	}
}

// tokenLife is the shortest that a cluster makes tokens for.
const tokenLife = 10 * time.Minute

// token is what a kubelet would project into the pod.
func (c *cluster) token(pod *core.Pod, audience string) string {
	c.Helper()
	return c.requested(pod.Namespace, pod.Spec.ServiceAccountName, audience,
		&authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID})
}

// requested is a token of a ServiceAccount; if bound is nil it is bound to nothing.
func (c *cluster) requested(namespace, account, audience string, bound *authentication.BoundObjectReference) string {
	c.Helper()
	life := int64(tokenLife / time.Second)
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{ExpirationSeconds: &life, BoundObjectRef: bound}}
	if audience != "" { // else it is for the API server
		request.Spec.Audiences = []string{audience}
	}
	made, err := c.core.ServiceAccounts(namespace).CreateToken(c.Context(), account, request, meta.CreateOptions{})
	c.must(err)
	return made.Status.Token
}

// credential writes that of the example's gateway, with the rights that the example gives it.
func (c *cluster) credential(file string) {
	c.Helper()
	for _, m := range manifests(c, "gateway.yaml") {
		switch m.kind {
		case "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding":
			c.create(m.path, m.object)
		}
	}
	c.must(os.WriteFile(file, []byte(c.requested("openshell", "openshell-gateway", "", nil)), 0o600))
}

// create creates an object as a manifest has it. Unknown and repeated fields are refused.
func (c *cluster) create(path string, object any) {
	c.Helper()
	body, err := json.Marshal(object)
	c.must(err)
	c.there(c.rest.Post().AbsPath(path).Param("fieldValidation", "Strict").SetHeader("Content-Type", "application/json").
		Body(bytes.NewReader(body)).Do(c.Context()).Error())
}

// eventually waits for a condition, with a deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// tail returns the end of a log; "" if there is none.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return string(text[max(0, len(text)-4096):])
}
