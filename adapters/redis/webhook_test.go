package redis_test

import (
	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/broker/webhook"
)

var (
	_ webhook.Queue   = (*redis.Letters)(nil)
	_ webhook.Archive = (*redis.Letters)(nil)
)
