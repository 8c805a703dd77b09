package redisstore

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// silence is how long a connection may be silent before it is probed with a ping. It is a
// variable only for tests.
var silence = 15 * time.Second

// Watch implements [replica.Watcher] with a subscription on a connection of its own. It
// also calls changed when the subscription begins, because earlier revocations are not
// published again. It returns as soon as ctx ends, with one exception: while it connects
// to a server that does not answer, it returns after the client's DialTimeout or ReadTimeout.
func (s *Store) Watch(ctx context.Context, changed func()) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	subscription := s.client.Subscribe(ctx, s.changed)
	defer subscription.Close()
	stop := context.AfterFunc(ctx, func() { subscription.Close() })
	defer stop()
	for probed := false; ; {
		message, err := subscription.ReceiveTimeout(ctx, silence)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && !probed {
			probed, err = true, subscription.Ping(ctx)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return failed(ctx, "waiting for revocations", err)
		}
		probed = false
		if _, pong := message.(*redis.Pong); !pong {
			changed()
		}
	}
}
