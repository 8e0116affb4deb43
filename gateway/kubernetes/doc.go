// Package kubernetes exchanges tokens of Kubernetes' ServiceAccounts for tokens of this gateway.
// A pod has such a token in a projected volume, and its cluster keeps it fresh; what the pod gets
// for it is good where this gateway's tokens are good.
//
// What is promised:
//
//   - Nothing that a token says is fetched or dialled. Its issuer and audience only choose among the
//     clusters of the configuration; a header with more than alg, kid and typ is refused.
//   - Nothing is taken on trust before the cluster has vouched for it: by a key of its key set, or by
//     its API server's word (TokenReview), which is then asked about each token.
//   - What is given is for one audience that the configuration allows to this ServiceAccount, and
//     expires no later than what was taken, and within 15 minutes.
//   - An API server that is slow, endless or hostile delays only exchanges of its own cluster, and
//     those for a few seconds: exchanges at a time, requests at a time, bytes and times are bounded.
//
// What is not promised: with the key set nobody knows that a pod or a ServiceAccount was deleted
// before its token expires. And a key that a cluster gave up is taken for five minutes more, or for
// an hour if its API server does not answer.
package kubernetes
