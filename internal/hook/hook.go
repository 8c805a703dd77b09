// Package hook calls the OnEvent options.
package hook

import (
	"context"

	"github.com/jwtauth-go/jwtauth/event"
)

// Hook is an OnEvent option. The nil Hook does nothing.
type Hook func(ctx context.Context, e event.Event)

// Send calls the hook.
func (h Hook) Send(ctx context.Context, events ...event.Event) {
	if h == nil {
		return
	}
	for _, e := range events {
		h(ctx, e)
	}
}
