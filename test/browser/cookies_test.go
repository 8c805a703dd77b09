package browser_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestTheCookiesAreKeptOnLoopbackWithoutHTTPS(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "localhost"} {
		s := newSite(t, pageOptions())
		b := newProfile(t).newTab()
		b.logIn(at(s.plain, host), "alice")
		require.Equal(t, "alice", s.refreshedUser(b))
		kept := b.cookies(host)
		require.Len(t, kept, 3)
		for name, c := range kept {
			require.True(t, strings.HasPrefix(name, "__Host-Http-") && c.Secure && c.HTTPOnly, name)
		}
	}
}

func TestALoginWithoutHTTPSIsRefusedBeforeTheBrowserDropsItsCookies(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	b := newProfile(t).open(at(s.plain, app) + "/login")
	a := b.fetch("/auth/login", fetchLogin("alice"))
	require.Equal(t, 400, a.Status)
	require.Contains(t, a.Body, "browsers drop the cookie of a page without https; see Cookie.InsecureHTTP")
	require.Equal(t, []string{"login_refused http"}, s.Heard())
	b.fillLogin("alice", password)
	b.waitFor("/auth/login", "browsers drop the cookie of a page without https")
	require.Equal(t, []string{"login_refused http"}, s.Heard())
	require.Empty(t, b.cookies(app))
}

func TestInsecureHTTPWorksOnEveryHost(t *testing.T) {
	t.Parallel()
	o := pageOptions()
	o.RefreshCookie, o.AccessCookie = &endpoints.Cookie{InsecureHTTP: true}, &endpoints.Cookie{InsecureHTTP: true}
	s := newSite(t, o)
	b := newProfile(t).newTab()
	b.logIn(at(s.plain, app), "alice")
	require.Equal(t, "alice", s.refreshedUser(b))
	require.Len(t, b.tokenCookies(app), 2)
	b.do(`setTimeout(() => document.forms[0].requestSubmit())`)
	b.waitFor("/login", "Log in")
	require.Empty(t, b.tokenCookies(app))
}

func TestNoScriptSeesTheCookies(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	b := newProfile(t).newTab()
	b.logIn(s.url(""), "alice")
	require.Len(t, b.cookies(app), 3)
	require.Empty(t, eval[string](b, `document.cookie`))
	require.Empty(t, eval[[]any](b, `cookieStore.getAll()`))
	// A script cannot remove or replace them either.
	for name := range b.cookies(app) {
		b.do(fmt.Sprintf(`for (const value of ["x; Path=/; Secure", "x; Path=/; Secure; Max-Age=0", "x; Path=/me; Secure"]) document.cookie = %q + "=" + value`, name))
	}
	s.requireUser(b, "alice")
}

func TestTwoProgramsOnTwoPortsOfOneHostDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	one := newSite(t, pageOptions())
	o := pageOptions()
	o.RefreshCookie.Name, o.AccessCookie.Name = "__Host-Http-two", "__Host-Http-two-access"
	two := newSite(t, o)
	p := newProfile(t)
	b, other := p.newTab(), p.newTab()
	b.logIn(one.url(""), "alice")
	other.logIn(two.url(""), "bob")
	one.visited("")
	one.requireUser(b, "alice")
	require.Contains(t, one.visited("/me")[0].cookies, "__Host-Http-two-", "a browser sends the cookies to all ports")
	two.requireUser(other, "bob")
	require.Equal(t, 204, other.post("/auth/logout").Status)
	one.requireUser(b, "alice")
	require.Equal(t, "invalid_grant", two.refreshedUser(other))
}

func TestALogoutRemovesTheTokensFromTheBrowser(t *testing.T) {
	t.Parallel()
	for name, cookie := range map[string]endpoints.Cookie{
		"default": {}, "__Host-": {Name: "__Host-a"}, "InsecureHTTP": {InsecureHTTP: true},
	} {
		t.Run(name, func(t *testing.T) {
			o := pageOptions()
			*o.RefreshCookie, *o.AccessCookie = cookie, cookie
			if cookie.Name != "" {
				o.AccessCookie.Name += "-access"
			}
			s := newSite(t, o)
			b := newProfile(t).newTab()
			b.logIn(at(s.plain, "localhost"), "alice")
			require.Equal(t, "alice", s.refreshedUser(b))
			require.Len(t, b.tokenCookies("localhost"), 2)
			require.Equal(t, 204, b.post("/auth/logout").Status)
			left := b.cookies("localhost")
			require.Len(t, left, 1, "the cookie with the tag of the login, which is no secret")
			for _, c := range left {
				require.Len(t, c.Value, 12)
			}
		})
	}
}

// An app in a frame of another site has a cookie jar of its own for each of these sites (CHIPS).
func TestAnAppInAFrameOfAnotherSiteHasItsOwnLogin(t *testing.T) {
	t.Parallel()
	o := pageOptions()
	o.RefreshCookie.Partitioned, o.AccessCookie.Partitioned = true, true
	s := newSite(t, o)
	// The page does the requests that the page around its frame asks for.
	s.mux.HandleFunc("GET /frame", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><body><script>onmessage = async (e) => {
			const a = await fetch(...e.data);
			e.source.postMessage({Status: a.status, Body: await a.text()}, e.origin);
		}</script>`))
	})
	p := newProfile(t)
	b := p.open(at(serveBlank(t), elsewhere))
	b.do(fmt.Sprintf(`new Promise((done) => {
		const frame = document.createElement("iframe");
		frame.src = %q; frame.onload = done; document.body.append(frame);
	})`, s.url("/frame")))
	ask := func(path, options string) answer {
		return eval[answer](b, fmt.Sprintf(`new Promise((done) => {
			onmessage = (e) => done(e.data);
			frames[0].postMessage([%q, %s], "*");
		})`, path, options))
	}
	require.Equal(t, 200, ask("/auth/login", fetchLogin("alice")).Status)
	require.Equal(t, 200, ask("/auth/refresh", scriptPost).Status)
	require.Contains(t, ask("/me", `{}`).Body, "user alice")
	for _, c := range p.cookies(app) {
		require.Equal(t, "https://"+elsewhere, c.PartitionKey.TopLevelSite)
	}
	require.Len(t, p.tokenCookies(app), 2)
	p.open(s.url("/me")).waitFor("/login?return=%2Fme", "Log in")
	require.Equal(t, 204, ask("/auth/logout", scriptPost).Status)
	require.Empty(t, p.tokenCookies(app))
}

func TestALinkOfAnotherSiteBringsOnlyTheAccessToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	b := p.newTab()
	b.logIn(s.url(""), "alice")
	s.visited("")
	b = p.open(at(serveBlank(t), elsewhere))
	b.follow(s.url("/me"))
	b.waitFor("/me", "user alice")
	require.ElementsMatch(t, []string{"__Host-Http-refresh", "__Host-Http-access-"}, s.visited("/me")[0].cookies)
	require.Equal(t, "alice", s.refreshedUser(b))
	require.Contains(t, s.visited("/auth/refresh")[0].cookies, "__Host-Http-refresh-")
}

// tossedTag is the tag of the login that other hosts try to set.
const tossedTag = "MALLORYMALLO"

// tossedCookies returns Set-Cookie headers with which another host of the site tries to set the
// cookies of the app (cookie tossing). Their values are those of the login r of mallory. Their
// names are those of a login of mallory, and the given names of the login of the user.
func tossedCookies(r jwtauth.TokenResponse, names []string) (all []string) {
	values := map[string]string{
		"__Host-Http-refresh": tossedTag, "__Host-Http-refresh-" + tossedTag: r.RefreshToken, "__Host-Http-access-" + tossedTag: r.AccessToken,
	}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "__Host-Http-refresh-"):
			values[name] = r.RefreshToken
		case strings.HasPrefix(name, "__Host-Http-access-"):
			values[name] = r.AccessToken
		}
	}
	for name, value := range values {
		plain := strings.TrimPrefix(name, "__Host-Http-")
		for _, set := range []string{
			name + "=" + value, strings.ToLower(name) + "=" + value, strings.ToUpper(name) + "=" + value,
			"=" + name + "=" + value, " \t" + name + "=" + value, "\u2000" + name + "=" + value, `"` + name + `"=` + value,
			plain + "=" + value, "__Secure-" + plain + "=" + value,
		} {
			for _, attributes := range []string{"Path=/", "Path=/auth", "Path=/me", "Path=/; HttpOnly"} {
				all = append(all, set+"; Domain="+app+"; Secure; "+attributes)
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestAnotherHostOfTheSiteCannotSetTheLogin(t *testing.T) {
	t.Parallel()
	s, blank := newSite(t, pageOptions()), serveBlank(t)
	plain := serve(t, blank.Config.Handler, false)
	mallory := s.Login("mallory")
	toss := func(p *profile) {
		before := p.cookies(app)
		sets := tossedCookies(mallory, slices.Collect(maps.Keys(before)))
		b := p.newTab()
		for page := range slices.Chunk(sets, 40) {
			parameters := query("set", page...)
			b.load(at(blank, sibling) + "/?" + parameters)
			b.do(`for (const set of new URLSearchParams(location.search).getAll("set")) document.cookie = set.replace("; HttpOnly", "")`)
			// Anybody on the network can be the host of the app without https.
			b.load(at(plain, app) + "/?" + parameters)
			b.do(`for (const set of new URLSearchParams(location.search).getAll("set")) document.cookie = set.replace(/; (Domain=[^;]*|Secure|HttpOnly)/g, ""); document.cookie = "other=x"`)
		}
		tossed := p.cookies("." + app)
		require.Contains(t, tossed, "__Secure-refresh-"+tossedTag)
		for name := range tossed {
			require.False(t, strings.HasPrefix(strings.ToLower(name), "__host-"), name)
		}
		after := p.cookies(app)
		require.Contains(t, after, "other")
		for name, c := range after {
			if strings.HasPrefix(strings.ToLower(name), "__host-") {
				require.Contains(t, before, name)
				require.Equal(t, before[name].Value, c.Value)
			}
		}
		b.close()
	}
	p := newProfile(t)
	toss(p)
	b := p.open(s.url("/me"))
	b.waitFor("/login?return=%2Fme", "Log in")
	require.Equal(t, "invalid_grant", s.refreshedUser(b))
	b.logIn(s.url(""), "alice")
	s.requireUser(b, "alice")
	toss(p)
	s.requireUser(b, "alice")
	b.logIn(s.url(""), "bob")
	s.requireUser(b, "bob")
	require.Equal(t, 204, b.post("/auth/logout").Status)
	require.Equal(t, "invalid_grant", s.refreshedUser(b))
	b.load(s.url("/me"))
	b.waitFor("/login?return=%2Fme", "Log in")
	sessions, _, err := s.Issuer.Sessions(t.Context(), "mallory", "")
	require.NoError(t, err)
	require.Len(t, sessions, 1, "a login ends only sessions of its own cookies")
}

// anyPage waits until the tab shows a page that stays, and returns its text.
func (b *tab) anyPage() (text string) {
	b.t.Helper()
	eventually(b.t, "a page is shown", func() bool {
		got, err := tryEval[[]string](b, `[location.pathname, document.body.innerText, document.readyState]`)
		if err != nil || got[2] != "complete" {
			return false
		}
		text = got[1]
		return got[0] != "/auth/resume" || strings.Contains(text, "cannot be opened")
	})
	return text
}

// A browser keeps a limited number of cookies for a site. Then it drops the ones that were used
// longest ago, whichever host has set them.
func TestManyCookiesOfAnotherHostAreAtWorstALogout(t *testing.T) {
	t.Parallel()
	const most = 240
	for _, step := range []int{most, 20} {
		t.Run(fmt.Sprintf("%d at a time", step), func(t *testing.T) {
			s, blank := newSite(t, pageOptions()), serveBlank(t)
			p := newProfile(t)
			b, other := p.newTab(), p.newTab()
			b.logIn(s.url(""), "bob")
			late := s.holdAnswer("/auth/refresh")
			b.startFetch("/auth/refresh", scriptPost)
			s.wait(late.arrived)
			other.logIn(s.url(""), "alice")
			late.release()
			eventually(t, "the late answer has left cookies of bob", func() bool { return len(p.tokenCookies(app)) == 4 })

			for n := 0; n < most; n += step {
				other.load(at(blank, sibling))
				other.do(fmt.Sprintf(`for (let i = %d; i < %d; i++) document.cookie = "c" + i + "=x; Domain=%s; Path=/; Secure"`, n, n+step, app))
				eventually(t, "the cookies of the other host are set", func() bool { return p.cookies("." + app)[fmt.Sprint("c", n+step-1)] != nil })
				left := len(p.cookies(app))
				b.load(s.url("/me"))
				text := b.anyPage()
				user := s.refreshedUser(b)
				t.Logf("%d cookies of the other host: %d of 5 cookies of the app are left, the page says %q, the refresh %q", n+step, left, strings.Fields(text), user)
				require.NotContains(t, text, "bob")
				require.Contains(t, []string{"alice", "invalid_grant"}, user)
			}
			b.logIn(s.url(""), "carol")
			s.requireUser(b, "carol")
			s.requireNoTheft()
		})
	}
}

// cookieLimit is the largest length of the name and the value of a cookie. refreshSlack is the
// part of it that a login leaves free, because later refresh tokens are a little longer.
const (
	cookieLimit  = 4096
	refreshSlack = 64
)

func TestTheBrowserDropsACookieBeyondTheLimitAndSaysNothing(t *testing.T) {
	t.Parallel()
	blank := serveBlank(t)
	p := newProfile(t)
	for length, isKept := range map[int]bool{cookieLimit: true, cookieLimit + 1: false} {
		name := fmt.Sprint("a", length)
		p.open(at(blank, app) + "/?" + query("set", name+"="+strings.Repeat("x", length-len(name))+"; Secure"))
		require.Equal(t, isKept, p.cookies(app)[name] != nil, length)
	}
}

// largest returns the length of the name and the value of the largest cookie with a token.
func (p *profile) largest() (length int) {
	for name, value := range p.tokenCookies(app) {
		length = max(length, len(name)+len(value))
	}
	return length
}

func TestATokenThatJustFitsItsCookieIsKeptAndALargerOneIsAnError(t *testing.T) {
	inBrowsers(t, func(t *testing.T, newProfile func(*testing.T) *profile, _ bool) {
		var scopes []string
		for i := range 25 {
			scopes = append(scopes, fmt.Sprintf("scope-%02d-%s", i, strings.Repeat("x", 22)))
		}
		var padding atomic.Int64 // of the next access token of a refresh
		withName := func(name string) *site {
			o := pageOptions()
			o.RefreshCookie.Name, o.AccessCookie.Name = name, name+"-access"
			o.Login = func(r *http.Request, name, _ string) (jwtauth.Grant, error) {
				return paddedGrant(name, r.PostForm.Get("padding"), scopes), nil
			}
			return newSite(t, o, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
					if n := padding.Load(); n > 0 {
						g.Claims = map[string]string{"padding": strings.Repeat("x", int(n))}
					}
					return nil
				}
			})
		}
		// find returns a site, and the padding with which the cookie has exactly the largest length.
		// Not every length of a token is possible, so the name of the cookie must fit.
		find := func(largest int, suffix string, length func(s *site, n int) int) (*site, int) {
			for _, name := range []string{"__Host-Http-a", "__Host-Http-aa", "__Host-Http-aaa"} {
				s := withName(name)
				n := (largest - len(name+suffix) - length(s, 1)) * 3 / 4
				for ; ; n++ {
					if all := len(name+suffix) + length(s, n); all == largest {
						return s, n
					} else if all > largest {
						break
					}
				}
			}
			require.FailNow(t, "no token has this length")
			return nil, 0
		}

		t.Run("refresh token of a login", func(t *testing.T) {
			s, n := find(cookieLimit-refreshSlack, "-"+tossedTag, func(s *site, n int) int {
				r, err := s.Issuer.Issue(t.Context(), paddedGrant("alice", strings.Repeat("x", n), scopes))
				require.NoError(t, err)
				return len(r.RefreshToken)
			})
			p := newProfile(t)
			b := p.newTab()
			b.logIn(s.url(""), "bob")
			before := p.tokenCookies(app)
			for more := 1; more < 4; more++ {
				require.Equal(t, 500, b.fetch("/auth/login", fetchLogin("alice", strings.Repeat("x", n+more))).Status)
				require.Equal(t, before, p.tokenCookies(app))
			}
			s.requireUser(b, "bob")
			require.Equal(t, 200, b.fetch("/auth/login", fetchLogin("alice", strings.Repeat("x", n))).Status)
			require.Equal(t, cookieLimit-refreshSlack, p.largest())
			s.requireUser(b, "alice")

			// The signatures of RS256 are 256 bytes longer.
			before = p.tokenCookies(app)
			es256, rs256 := s.Key, fixture.KeyFor(t, jwk.RS256)
			require.NoError(t, s.Keys.Replace(rs256, es256.Verification()))
			require.Equal(t, 503, b.post("/auth/refresh").Status)
			require.Equal(t, before, p.tokenCookies(app))
			require.NoError(t, s.Keys.Replace(es256, rs256.Verification()))
			s.requireUser(b, "alice")
			s.requireNoTheft()
		})

		t.Run("access token of a refresh", func(t *testing.T) {
			s, n := find(cookieLimit, "-access-"+tossedTag, func(s *site, n int) int {
				padding.Store(int64(n))
				defer padding.Store(0)
				r, err := s.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: s.Login("alice").RefreshToken})
				require.NoError(t, err)
				return len(r.AccessToken)
			})
			p := newProfile(t)
			b := p.newTab()
			b.logIn(s.url(""), "alice")
			before := p.tokenCookies(app)
			for more := int64(1); more < 4; more++ {
				padding.Store(int64(n) + more)
				require.Equal(t, 503, b.post("/auth/refresh").Status)
				require.Equal(t, before, p.tokenCookies(app))
			}
			padding.Store(int64(n))
			s.requireUser(b, "alice")
			require.Equal(t, cookieLimit, p.largest())
			s.requireNoTheft()
		})
	})
}

// paddedGrant returns a grant with padding, or a small one.
func paddedGrant(name, padding string, scopes []string) jwtauth.Grant {
	if padding == "" {
		return jwtauth.Grant{Subject: name}
	}
	return jwtauth.Grant{Subject: name, Scopes: scopes, Claims: map[string]string{"padding": padding}}
}
