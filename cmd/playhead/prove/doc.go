// Package prove starts a cluster of real processes, treats it as production does, and compares what
// was acknowledged with what clients got.
//
// [Proof.Run] starts three NATS servers and some nodes, each a process of its own, with a TCP proxy in
// every link between them. Publishers, clients that keep their place, people who come and go on
// presence channels and a receiver of webhooks load the cluster; then a plan, drawn by a seed, kills,
// pauses, cuts, slows and restarts, one thing at a time. At the end everything that was acknowledged
// is looked for at every client and in the log, and who is told to be present is compared with who is.
package prove
