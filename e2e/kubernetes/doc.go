// Package kubernetes tests the exchange of ServiceAccounts' tokens on a real kube-apiserver, which
// scripts/kubernetes starts, and the manifests of examples/kubernetes.
//
// There is no kubelet. Pods are objects that do not run, and the tests ask for the tokens that a
// kubelet would project into them: by TokenRequest, bound to the pod.
package kubernetes
