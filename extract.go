package jwtauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/origin"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// Extractor is a place in a request where a token may be. [FromHeader], [FromCookie],
// [FromWebSocketProtocol], [FirstOf] and [NewExtractor] make one. [NewMiddleware] refuses the
// zero value.
type Extractor struct {
	find    func(r *http.Request) (token string, err error)
	read    func(r *http.Request) (token string, err error) // find without the check of the origin; nil if find has none
	places  []Extractor                                     // of FirstOf
	strip   func(h http.Header)                             // removes the token from the header that the handler gets
	mistake error                                           // why the Extractor cannot be used; nil if it can
}

func (e *Extractor) findMistake() error {
	if e.mistake != nil {
		return e.mistake
	}
	if e.find == nil {
		return errors.New("jwtauth: an Extractor is made by FromHeader, FromCookie, FromWebSocketProtocol, FirstOf or NewExtractor")
	}
	return nil
}

// EndpointsSeam is for package endpoints of this module.
func (e Extractor) EndpointsSeam() keyset.Extractor {
	return keyset.Extractor{
		Tokens: e.tokens,
		Unless: func(skip func(r *http.Request) bool) any {
			find := e.find
			if find != nil {
				e.find = func(r *http.Request) (string, error) {
					if skip(r) {
						return "", errNone
					}
					return find(r)
				}
			}
			return e
		},
	}
}

// tokens returns all tokens of a request. isOriginChecked means that the caller has checked the origin.
// If places cannot be read, err is the error of the first one, or ErrUnavailable if a place does not
// know its token.
func (e Extractor) tokens(r *http.Request, isOriginChecked bool) (tokens []string, err error) {
	if err := e.findMistake(); err != nil {
		return nil, unavailable("extract", err)
	}
	for _, place := range e.places {
		more, placeErr := place.tokens(r, isOriginChecked)
		tokens = append(tokens, more...)
		if err == nil || errors.Is(placeErr, ErrUnavailable) {
			err = placeErr
		}
	}
	if e.places != nil {
		return tokens, err
	}
	find := e.find
	if isOriginChecked && e.read != nil {
		find = e.read
	}
	token, err := find(r)
	switch {
	case err != nil && !isRefusalFor(err, ErrNoToken):
		return nil, errorFromProgram("extract", err, func() *Error { return refused("extract", ErrTokenMalformed, "", "") })
	case err == nil && token != "":
		return []string{token}, nil
	}
	return nil, nil
}

// FromHeader finds the token in a header, after a scheme and one blank, such as
// FromHeader("Authorization", "Bearer") (RFC 6750, section 2.1). The case of both does not
// matter. An empty scheme means that the header holds the token alone: a value with a scheme
// in front is then no token of this place. Places with one header and several schemes can
// therefore stand side by side, in any order. An empty header is then no token, either. The errors
// are those of [BearerToken].
//
// A header that browsers fill by themselves is a mistake, as a cookie is: use [FromCookie] and
// [FromWebSocketProtocol].
func FromHeader(name, scheme string) Extractor {
	name = textproto.CanonicalMIMEHeaderKey(name)
	isToken := func(s string) bool {
		return !slices.ContainsFunc([]byte(s), func(c byte) bool { return !isTokenChar(c) })
	}
	switch {
	case name == "" || !isToken(name):
		return Extractor{mistake: fmt.Errorf("jwtauth: FromHeader: %s is not the name of a header (Authorization is one)", errtext.Quote(name))}
	case !isToken(scheme):
		return Extractor{mistake: fmt.Errorf("jwtauth: FromHeader: %s is not a scheme: Bearer without a blank is one, and an empty one means that the header holds the token alone", errtext.Quote(scheme))}
	case slices.Contains([]string{"Cookie", "Host", "Origin", "Referer", "User-Agent"}, name) || strings.HasPrefix(name, "Sec-"):
		return Extractor{mistake: fmt.Errorf("jwtauth: FromHeader: browsers fill the header %s by themselves: a header that only a program sets is expected, or FromCookie or FromWebSocketProtocol", name)}
	case slices.ContainsFunc([]string{"Basic", "Digest", "Negotiate", "NTLM"}, func(s string) bool { return strings.EqualFold(s, scheme) }):
		return Extractor{mistake: fmt.Errorf("jwtauth: FromHeader: browsers send the scheme %s by themselves: one that only a program sends is expected, such as Bearer", scheme)}
	}
	return Extractor{find: func(r *http.Request) (string, error) { return headerToken(r, name, scheme) }}
}

// NewExtractor makes an Extractor of a function. find returns the token; "" or ErrNoToken
// if there is none. The response has the Status and Code of an *[Error] that find returns.
// Another error that matches ErrRefused, such as ErrTokenMalformed, is a 401. Any other
// error is a 503.
//
// Take no token from a place that a browser fills by itself: other sites could then act for
// the user. For a cookie, FromCookie prevents that. Take none from the URL, which ends up in
// logs (RFC 9700, section 4.3.2).
func NewExtractor(find func(r *http.Request) (token string, err error)) Extractor {
	return Extractor{find: find}
}

// BearerToken returns the token of the Authorization header. The token is the text after Bearer and
// one blank. The case of Bearer does not matter. A handler can pass the token to [Issuer.Logout],
// for example. The error is ErrNoToken if the header is missing or has another scheme,
// ErrTokenNotAlone if there are two headers, and ErrTokenMalformed if the header is empty or no token
// follows Bearer. A second blank, which RFC 6750 allows, becomes a part of the token,
// so the token is refused later.
func BearerToken(r *http.Request) (string, error) { return headerToken(r, "Authorization", "Bearer") }

// headerToken returns the token of a header. The name is in the canonical form of net/http. If
// scheme is empty, the header holds the token alone.
func headerToken(r *http.Request, name, scheme string) (string, error) {
	values := r.Header[name]
	switch len(values) {
	case 0:
		return "", errNone
	case 1:
	default:
		return "", notAloneError()
	}
	value := values[0]
	switch {
	case value == "" && scheme == "": // a client that sends the header also without a token
		return "", errNone
	case value == "":
		return "", refused("extract", ErrTokenMalformed, scheme+" and a token", "an empty "+name+" header")
	}
	if scheme == "" {
		first, _, hasBlank := strings.Cut(value, " ")
		if hasBlank && !slices.ContainsFunc([]byte(first), func(c byte) bool { return !isTokenChar(c) }) {
			return "", errNone // a scheme
		}
		return value, nil
	}
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", errNone
	}
	rest := value[len(scheme):]
	if rest != "" && isTokenChar(rest[0]) {
		return "", errNone // another scheme, whose name begins with this one
	}
	if len(rest) < 2 || rest[0] != ' ' {
		return "", refused("extract", ErrTokenMalformed, scheme+" and a token", scheme+" alone")
	}
	return rest[1:], nil
}

var errNone = fmt.Errorf("jwtauth: %w", ErrNoToken)

// noOtherProtocolError returns the refusal of a WebSocket request whose only subprotocol
// is the token: 400 invalid_request.
func noOtherProtocolError() error {
	e := newError(http.StatusBadRequest, codeInvalidRequest, ErrRefused, ErrTokenMalformed, nil)
	e.Description = "a WebSocket client offers a second subprotocol besides the one with the token, for the server to select"
	e.Check, e.Expected, e.Got = "extract", "a second subprotocol, which the server can select", "the token alone"
	return e
}

// isTokenChar reports whether c may be in a token of RFC 9110, section 5.6.2.
func isTokenChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// FromWebSocketProtocol finds the token in the Sec-WebSocket-Protocol header, the only
// header that a script in a browser can set for a WebSocket. The client offers a subprotocol
// that consists of prefix and the token, such as
//
//	new WebSocket(url, ["chat", "jwt.bearer." + token])
//
// with the prefix "jwt.bearer.". The handler does not see the subprotocol with the token,
// so it can neither select nor log it. The client must offer another subprotocol, such as
// chat, and the handler must select that one: a browser ends a connection if the server
// selects no offered subprotocol. A request with no other subprotocol is 400
// invalid_request. See examples/websocket. The characters of prefix must be allowed in a
// token of RFC 9110, section 5.6.2.
func FromWebSocketProtocol(prefix string) Extractor {
	if prefix == "" || slices.ContainsFunc([]byte(prefix), func(c byte) bool { return !isTokenChar(c) }) {
		return Extractor{mistake: fmt.Errorf("jwtauth: FromWebSocketProtocol: %s is not a prefix of a subprotocol (jwt.bearer. is one)", errtext.Quote(prefix))}
	}
	const name = "Sec-Websocket-Protocol" // in the canonical form of net/http
	find := func(r *http.Request) (string, error) {
		token, found, hasOther := "", false, false
		for protocol := range wire.Elements(r.Header[name]) {
			rest, ok := strings.CutPrefix(protocol, prefix)
			if !ok {
				hasOther = true
				continue
			}
			if found {
				return "", notAloneError()
			}
			token, found = rest, true
		}
		if found && token == "" {
			return "", refused("extract", ErrTokenMalformed, "a subprotocol with a token", "the prefix alone")
		}
		if found && !hasOther {
			return "", noOtherProtocolError()
		}
		return token, nil
	}
	strip := func(h http.Header) {
		var left []string
		for protocol := range wire.Elements(h[name]) {
			if !strings.HasPrefix(protocol, prefix) {
				left = append(left, protocol)
			}
		}
		delete(h, name)
		if len(left) > 0 {
			h[name] = []string{strings.Join(left, ", ")}
		}
	}
	return Extractor{find: find, strip: strip}
}

// FromCookie finds the token in a cookie, for pages that a browser loads. A browser also sends the
// cookie with requests of other hosts of the same site and, depending on SameSite, of other sites.
// FromCookie therefore checks the origin of WebSocket handshakes, and of all requests except GET,
// HEAD and OPTIONS ([http.CrossOriginProtection]). If a page of another origin has made such a
// request, the answer is 403. A GET request is accepted from everywhere, so a handler must change
// nothing for it. trustedOrigins are origins of further pages that may make such requests, such as
// https://app.example.com. An origin with plain http is refused if name begins with __, except for
// this machine.
//
// Two cookies with the name are refused with 400. Begin the name with __Host-Http-, and set the
// cookie with Secure, HttpOnly, SameSite=Lax and Path=/, without Domain: then no other host can
// set the cookie, and no script can read it. FromCookie cannot read the cookies of package endpoints,
// whose names have a tag for each login. Use Handlers.Auth of that package.
func FromCookie(name string, trustedOrigins ...string) Extractor {
	check, err := origin.New(trustedOrigins, !strings.HasPrefix(name, "__"))
	if err != nil {
		return Extractor{mistake: fmt.Errorf("jwtauth: FromCookie: %w", err)}
	}
	if name == "" || slices.ContainsFunc([]byte(name), func(c byte) bool { return !isTokenChar(c) }) {
		return Extractor{mistake: fmt.Errorf("jwtauth: FromCookie: %s is not the name of a cookie (__Host-Http-access is one)", errtext.Quote(name))}
	}
	read := func(r *http.Request) (string, error) {
		cookies := r.CookiesNamed(name)
		switch {
		case len(cookies) > 1:
			return "", notAloneError()
		case len(cookies) == 0 || cookies[0].Value == "":
			return "", errNone
		}
		return cookies[0].Value, nil
	}
	return Extractor{read: read, find: func(r *http.Request) (string, error) {
		token, err := read(r)
		if err != nil {
			return "", err
		}
		if err := check.CheckRequest(r); err != nil {
			return "", crossOriginError(err)
		}
		return token, nil
	}}
}

// crossOriginError returns the refusal if a page of another origin has made a request with a cookie:
// 403 access_denied.
func crossOriginError(cause error) error {
	e := newError(http.StatusForbidden, codeAccessDenied, ErrRefused, nil, cause)
	e.Check = "origin"
	return e
}

// FirstOf finds the token of the first place that has one. The later places are not looked
// at, so a request may have several tokens. If the token of that place cannot be read or is
// refused, the request is refused.
func FirstOf(places ...Extractor) Extractor {
	if len(places) == 0 {
		return Extractor{mistake: errors.New("jwtauth: FirstOf without Extractors")}
	}
	places = slices.Clone(places)
	for i := range places {
		if err := places[i].findMistake(); err != nil {
			return Extractor{mistake: err}
		}
	}
	first := Extractor{places: places, find: func(r *http.Request) (string, error) {
		for i := range places {
			if token, err := places[i].find(r); err != nil && !isRefusalFor(err, ErrNoToken) || err == nil && token != "" {
				return token, err
			}
		}
		return "", errNone
	}}
	for _, place := range places {
		if place.strip != nil {
			before := first.strip
			first.strip = func(h http.Header) {
				if before != nil {
					before(h)
				}
				place.strip(h)
			}
		}
	}
	return first
}
