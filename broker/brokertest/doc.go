// Package brokertest holds the in-memory log, the contract suites, the faults; for tests only.
//
// [Memory] is a medium with memory, [Carrier] one without; both live in the process and may be
// used in a testing/synctest bubble, when they are made in it. [Faulty] and [FaultyHistory] wrap
// any medium and let it fail on command.
//
// [TestLog], [TestCache] and [TestHistory] are what a medium promises, as tests. Every
// implementation runs those that apply to it in its own package:
//
//	func TestContract(t *testing.T) {
//		brokertest.TestLog(t, open)
//		brokertest.TestCache(t, open)
//		brokertest.TestHistory(t, open)
//	}
//
// open is called once for each subtest and gives it a [Medium]. It may be a new one each time or
// views of a single one: each subtest uses apps of its own.
package brokertest
