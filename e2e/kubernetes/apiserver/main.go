// Command apiserver is a real kube-apiserver, for the tests. It is a module of its own, so that
// nothing of it is among this one's requirements: scripts/kubernetes builds it.
//
// Kubernetes' own go.mod points to the staging directories of its repository. The go.mod here
// points to the same modules as published.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
