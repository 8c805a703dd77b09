package endpoints

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// readOAuth reads the form of a request to one of the OAuth routes, and authenticates the client with
// check. If the form or the client is refused, readOAuth answers the request and returns false.
func (h *Handlers) readOAuth(w http.ResponseWriter, r *http.Request, check func(r *http.Request, id, secret string) error) (fields url.Values, clientID string, ok bool) {
	fields, typ, err := readBody(w, r, h.o.MaxBody, "resource") // RFC 8707, section 2
	if err == nil && typ != formBody {
		err = invalidRequest(http.StatusBadRequest, "a form is expected: application/x-www-form-urlencoded")
	}
	if err != nil {
		h.refuse(w, r, err)
		return nil, "", false
	}
	clientID, ok = h.authenticateClient(w, r, check)
	return fields, clientID, ok
}

// authenticateClient returns the client_id of the caller, after check has accepted it. If the
// caller is not authenticated, authenticateClient answers the request and returns false.
func (h *Handlers) authenticateClient(w http.ResponseWriter, r *http.Request, check func(r *http.Request, id, secret string) error) (clientID string, ok bool) {
	candidates, err := credentialsOf(r)
	for _, c := range candidates {
		if err = check(r, c.id, c.secret); err == nil {
			return c.id, true
		}
		if _, isRefused := programError("client", err, errClient); !isRefused {
			break
		}
	}
	h.refuseClient(w, r, err)
	return "", false
}

// checkClient calls Options.Client for a client with an id.
func (h *Handlers) checkClient(r *http.Request, id, secret string) error {
	if id == "" {
		return errClient
	}
	return h.o.Client(r, id, secret)
}

// credentials are the id and the secret of an OAuth client.
type credentials struct{ id, secret string }

// credentialsOf returns the possible readings of the credentials in a request, in the order to try.
// Without an error, there is at least one. Many clients form-encode the credentials in the
// Authorization header, as RFC 6749 says, and others do not. Two secrets, or two different ids, are
// an error.
func credentialsOf(r *http.Request) ([]credentials, error) {
	inBody := credentials{r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")}
	name, password, isBasic := r.BasicAuth()
	if !isBasic {
		return []credentials{inBody}, nil
	}
	var list []credentials
	decodedName, err1 := url.QueryUnescape(name)
	decodedPassword, err2 := url.QueryUnescape(password)
	if err1 == nil && err2 == nil {
		list = append(list, credentials{decodedName, decodedPassword})
	}
	if inHeader := (credentials{name, password}); !slices.Contains(list, inHeader) {
		list = append(list, inHeader)
	}
	list = slices.DeleteFunc(list, func(c credentials) bool { return inBody.id != "" && inBody.id != c.id })
	if len(list) == 0 || len(inBody.secret) > 0 || len(r.Header["Authorization"]) > 1 {
		return nil, invalidRequest(http.StatusBadRequest, "one client is expected, with one secret in the header or in the body")
	}
	return list, nil
}

var errClient = &jwtauth.Error{Status: http.StatusUnauthorized, Code: "invalid_client", Description: "the client could not be authenticated", Check: "client"}

// refuseClient answers a client that is not authenticated (RFC 6749, section 5.2).
func (h *Handlers) refuseClient(w http.ResponseWriter, r *http.Request, err error) {
	e, isRefused := programError("client", err, errClient)
	if !isRefused {
		h.report(r, event.Unavailable, "client", err)
		h.refuse(w, r, e)
		return
	}
	h.report(r, event.TokenRefused, "client", err)
	if e.Code == "invalid_request" {
		h.refuse(w, r, e)
		return
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+h.o.Path+`"`)
	}
	wire.WriteError(w, r, e.Status, wire.Error{Code: e.Code, Description: e.Description, Next: e.Next}, e.RetryAfter)
}

// token redeems a refresh token (RFC 6749, section 6).
func (h *Handlers) token(w http.ResponseWriter, r *http.Request) {
	fields, clientID, ok := h.readOAuth(w, r, h.checkClient)
	if !ok {
		return
	}
	var err error
	switch grantType := fields.Get("grant_type"); {
	case grantType == "":
		err = invalidRequest(http.StatusBadRequest, "grant_type is expected")
	case grantType != "refresh_token":
		err = &jwtauth.Error{Status: http.StatusBadRequest, Code: "unsupported_grant_type", Description: "grant_type=refresh_token is expected", Check: "request"}
	case fields.Get("refresh_token") == "":
		err = invalidRequest(http.StatusBadRequest, "refresh_token is expected")
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	tokens, err := h.issuer.Refresh(r.Context(), jwtauth.RefreshRequest{
		Token: fields.Get("refresh_token"), ClientID: clientID,
		Scopes: strings.Fields(fields.Get("scope")), Audiences: fields["resource"], Details: h.details(r),
	})
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	jwtauth.WriteTokens(w, tokens)
}

// revoke revokes a token of the client (RFC 7009): an access token alone, or the session of a
// refresh token. A token that is not good, or not known, is also a success.
func (h *Handlers) revoke(w http.ResponseWriter, r *http.Request) {
	fields, clientID, ok := h.readOAuth(w, r, h.checkClient)
	if !ok {
		return
	}
	text := fields.Get("token")
	if text == "" {
		h.refuse(w, r, invalidRequest(http.StatusBadRequest, "token is expected"))
		return
	}
	if err := h.revokeIfOwned(r, clientID, text); err != nil {
		h.refuse(w, r, err)
		return
	}
	wire.WriteJSON(w, http.StatusOK, "application/json", struct{}{})
}

// errOtherClient is the answer if a client revokes the token of another one (RFC 7009, section
// 2.1).
var errOtherClient = &jwtauth.Error{
	Status: http.StatusBadRequest, Code: "invalid_grant", Description: "the token was issued to another client", Check: "client",
}

// revokeIfOwned revokes a token if it was issued to the client.
func (h *Handlers) revokeIfOwned(r *http.Request, clientID, text string) error {
	ctx := r.Context()
	session, err := h.seam.Session(ctx, text)
	switch {
	case err == nil && session.ClientID != clientID:
		return errOtherClient
	case err == nil:
		return h.issuer.Logout(ctx, text)
	case !errors.Is(err, jwtauth.ErrRefused):
		return err
	}
	claims, err := h.verifyAccess(r, text)
	switch {
	case errors.Is(err, jwtauth.ErrRefused):
		return h.checkNoGoodToken(ctx, text)
	case err != nil:
		return err
	case claims.clientID != clientID:
		return errOtherClient
	case !h.seam.HasRevocations:
		return &jwtauth.Error{Status: http.StatusBadRequest, Code: "unsupported_token_type", Description: "access tokens cannot be revoked", Check: "request"}
	}
	return h.issuer.RevokeID(ctx, claims.id)
}

// errOtherIssuer is the answer if a token is good, but not one of the issuer, such as an old token of
// package migrate. A success would say that it was revoked.
var errOtherIssuer = &jwtauth.Error{
	Status: http.StatusBadRequest, Code: "unsupported_token_type", Description: "only tokens of this issuer can be revoked here", Check: "request",
}

// checkNoGoodToken returns an error if Auth accepts a token that the issuer refuses.
func (h *Handlers) checkNoGoodToken(ctx context.Context, text string) error {
	switch _, err := h.verifier.Verify(ctx, text); {
	case err == nil:
		return errOtherIssuer
	case errors.Is(err, jwtauth.ErrRefused):
		return nil
	default:
		return err
	}
}

// accessClaims are the claims of an access token that the OAuth routes use.
type accessClaims struct {
	id, clientID string
	text         string // all claims, a JSON object
}

// verifyAccess verifies an access token, and returns its claims.
func (h *Handlers) verifyAccess(r *http.Request, token string) (c accessClaims, err error) {
	if c.text, err = h.seam.AccessClaims(r.Context(), token); err != nil {
		return accessClaims{}, err
	}
	err = strictjson.Object(c.text, func(name string, v strictjson.Value) error {
		switch name {
		case "jti":
			c.id, _ = v.Str()
		case "client_id":
			c.clientID, _ = v.Str()
		}
		return nil
	})
	return c, err
}

// introspect says whether a token is good, and what is in it (RFC 7662). About a token that is
// not good, it says nothing else.
func (h *Handlers) introspect(w http.ResponseWriter, r *http.Request) {
	fields, _, ok := h.readOAuth(w, r, h.o.Introspect)
	if !ok {
		return
	}
	text := fields.Get("token")
	if text == "" {
		h.refuse(w, r, invalidRequest(http.StatusBadRequest, "token is expected"))
		return
	}
	answer, err := h.describe(r, text)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	wire.WriteJSON(w, http.StatusOK, "application/json", answer)
}

// describe returns the answer of introspect.
func (h *Handlers) describe(r *http.Request, text string) (any, error) {
	claims, err := h.verifyAccess(r, text)
	if err == nil {
		return claims.introspection()
	}
	if !errors.Is(err, jwtauth.ErrRefused) {
		return nil, err
	}
	session, err := h.seam.Session(r.Context(), text)
	switch {
	case err == nil:
		members := map[string]any{
			"active": true, "token_use": "refresh_token", "iss": h.seam.Name, "aud": h.seam.Name + "#refresh", "sub": session.Subject, "sid": session.ID,
			"exp": session.IdleEnd.Unix(), "iat": session.RefreshedAt.Unix(),
		}
		if session.ClientID != "" {
			members["client_id"] = session.ClientID
		}
		if len(session.Scopes) > 0 {
			members["scope"] = strings.Join(session.Scopes, " ")
		}
		return members, nil
	case errors.Is(err, jwtauth.ErrRefused):
		return map[string]any{"active": false}, nil
	}
	return nil, err
}

// introspection returns the answer for a good access token: active, token_type and its claims,
// except sid_epoch, which is internal.
func (c accessClaims) introspection() (any, error) {
	members := map[string]json.RawMessage{"active": json.RawMessage("true"), "token_type": json.RawMessage(`"Bearer"`)}
	err := strictjson.Object(c.text, func(name string, v strictjson.Value) error {
		if name != "sid_epoch" && members[name] == nil {
			members[name] = json.RawMessage(v)
		}
		return nil
	})
	return members, err
}
