// Package kubernetes has manifests, with comments, that hand over between containers: daemonset.yaml between two pods of one
// node, pod.yaml between two containers of one pod. Its test does what the API server does with them: it decodes them strictly, fills
// in defaults, and calls the server's own validation. It is a module of its own, so that nothing else depends on k8s.io/kubernetes,
// which is no library: its go.mod has to be told for each module of Kubernetes which version it is.
package kubernetes
