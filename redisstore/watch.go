package redisstore

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// silence is for how long a connection may say nothing before it is asked whether
// it is still there; a variable for tests alone.
var silence = 15 * time.Second

// Watch implements [jwtauth.RevocationWatcher] with a subscription on a connection
// of its own. It also calls changed when the subscription begins, since what came
// before it was not told. It returns at once when ctx ends, or, while it connects to
// a server that does not answer, when the client gives that up (DialTimeout,
// ReadTimeout).
func (s *Store) Watch(ctx context.Context, changed func()) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	subscription := s.client.Subscribe(ctx, s.changed)
	defer subscription.Close()
	stop := context.AfterFunc(ctx, func() { subscription.Close() })
	defer stop()
	for asked := false; ; {
		message, err := subscription.ReceiveTimeout(ctx, silence)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var slow net.Error
		if errors.As(err, &slow) && slow.Timeout() && !asked {
			asked, err = true, subscription.Ping(ctx)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return failed(ctx, "waiting for revocations", err)
		}
		asked = false
		if _, pong := message.(*redis.Pong); !pong {
			changed()
		}
	}
}
