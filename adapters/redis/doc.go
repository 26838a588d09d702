// Package redis is Redis and Redis Cluster pub/sub: same contract, no memory.
//
// A [Client] is the way to one Redis, to a master that Sentinels watch, or to a Redis Cluster. Over it,
// [Medium] is a broker.Log that only carries, with the last events of cache channels, and [PresenceLog]
// a log with memory through which nodes tell each other who is where.
package redis
