// Package kubernetes has manifests, with comments, that hand over between containers: daemonset.yaml between two pods of one
// node, pod.yaml between two containers of one pod. Its test checks them against the types of the Kubernetes API. It is a module
// of its own, so that nothing else depends on these.
package kubernetes
