// Package transport brings the incumbent's descriptors to its successor: it sends them in messages (SCM_RIGHTS, unix(7)), or lets
// the successor take them (pidfd_getfd(2)).
package transport

// Features of a side, as HELLO and WELCOME name them.
const (
	FeaturePull  = "pull"       // the successor takes descriptors by pidfd_getfd(2)
	FeatureToken = "pull-token" // and also the token, if that cannot be sent
)
