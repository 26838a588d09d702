// Package redistest starts real Redis servers: one, one with Sentinels, a cluster; for tests only.
//
// [Single], [Sentinel] and [Cluster] start servers of the test's own, which it may kill. [SharedSingle]
// and [SharedCluster] start them once for a test binary; its TestMain is then
//
//	func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }
package redistest
