package endpoints

import (
	"errors"
	"net/http"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// sessionMembers are the members of a session in the answer of the route sessions.
type sessionMembers struct {
	ID          string            `json:"id"`
	Current     bool              `json:"current"` // the session of the caller
	ClientID    string            `json:"client_id,omitempty"`
	Scopes      []string          `json:"scopes,omitempty"`
	Details     map[string]string `json:"details,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	RefreshedAt time.Time         `json:"refreshed_at"`
	IdleEnd     time.Time         `json:"idle_end"` // when the session ends if it is not refreshed
	EndsAt      time.Time         `json:"ends_at"`
}

// listSessions answers with a page of the sessions of the caller. If there are more sessions, the
// answer has the member "next". For the next page, the client sends its value in the parameter
// "after".
func (h *Handlers) listSessions(w http.ResponseWriter, r *http.Request) {
	t, _ := jwtauth.FromContext(r.Context())
	page, next, err := h.issuer.Sessions(r.Context(), t.Subject, r.URL.Query().Get("after"))
	if err != nil {
		h.refuse(w, r, sessionError(err))
		return
	}
	list := make([]sessionMembers, 0, len(page))
	for _, s := range page {
		list = append(list, sessionMembers{s.ID, s.ID == t.SessionID, s.ClientID, s.Scopes, s.Details, s.CreatedAt, s.RefreshedAt, s.IdleEnd, s.EndsAt})
	}
	wire.WriteJSON(w, http.StatusOK, "application/json", struct {
		Sessions []sessionMembers `json:"sessions"`
		Next     string           `json:"next,omitempty"`
	}{list, next})
}

// endSession ends one session of the caller. It is also 204 if the session has ended, or is not
// one of the caller. A text that is no id of a session is 400.
func (h *Handlers) endSession(w http.ResponseWriter, r *http.Request) {
	t, _ := jwtauth.FromContext(r.Context())
	h.answerEmpty(w, r, h.issuer.EndSession(r.Context(), t.Subject, r.PathValue("id")))
}

// endOthers ends all sessions of the caller except the present one.
func (h *Handlers) endOthers(w http.ResponseWriter, r *http.Request) {
	t, _ := jwtauth.FromContext(r.Context())
	h.answerEmpty(w, r, h.issuer.EndOtherSessions(r.Context(), t.Subject, t.SessionID))
}

// endAll ends all sessions of the caller.
func (h *Handlers) endAll(w http.ResponseWriter, r *http.Request) {
	t, _ := jwtauth.FromContext(r.Context())
	h.answerEmpty(w, r, h.issuer.EndAllSessions(r.Context(), t.Subject))
}

// answerEmpty answers 204, or writes an error.
func (h *Handlers) answerEmpty(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		h.refuse(w, r, sessionError(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// sessionError converts an error of the issuer. ErrNoSession means that the request has a malformed
// session id. The answer is 400 invalid_request, and says nothing about the token of the caller.
func sessionError(err error) error {
	if errors.Is(err, jwtauth.ErrNoSession) {
		return invalidRequest(http.StatusBadRequest, "the id of a session of this user is expected")
	}
	return err
}
