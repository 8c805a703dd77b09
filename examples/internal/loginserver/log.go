package loginserver

import (
	"context"
	"io"
	"log/slog"
)

// newLog makes the audit log. Each record about a request has the address of the client.
func newLog(w io.Writer, format string) *slog.Logger {
	var h slog.Handler = slog.NewTextHandler(w, nil)
	if format == "json" {
		h = slog.NewJSONHandler(w, nil)
	}
	return slog.New(peerHandler{h})
}

type peerKey struct{}

// withPeer adds the address of the client to the context of a request, for the log.
func withPeer(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, peerKey{}, address)
}

// peerHandler adds the address of the client to each record. The library does not know the
// address, but calls OnEvent with the context of the request, which has it.
type peerHandler struct{ slog.Handler }

func (h peerHandler) Handle(ctx context.Context, r slog.Record) error {
	if address, ok := ctx.Value(peerKey{}).(string); ok {
		r.AddAttrs(slog.String("peer", address))
	}
	return h.Handler.Handle(ctx, r)
}

func (h peerHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return peerHandler{h.Handler.WithAttrs(attrs)}
}

func (h peerHandler) WithGroup(name string) slog.Handler {
	return peerHandler{h.Handler.WithGroup(name)}
}
