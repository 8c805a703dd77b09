package jwtauth_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var apiAttacks = []attack{
	{"A01", "zero values", attackZeroValues},
	{"A02", "empty or unsafe allow-list", attackUnsafeAlgorithms},
	{"A04", "result on error", attackResultOnError},
	{"A06", "no built-in secrets", attackBuiltInSecrets},
	{"A07", "escape hatches", attackEscapeHatches},
}

// declarations are the exported names of this package: types, and methods as
// Type.Method. hatches are the exported names that say that they are unsafe,
// with the comments that speak of them.
type declarations struct {
	types, methods []string
	hatches        map[string]string
}

// unsafeName finds them: KeySkipped, what was done, is none.
var unsafeName = regexp.MustCompile(`Insecure|Skip(?:[^p]|$)|Unverified|Unsafe|Dangerous|NoVerify`)

// declaredIn reads the sources of this package, so that a test which wants to
// cover everything fails for what is new.
func declaredIn(t *testing.T) declarations {
	t.Helper()
	d := declarations{hatches: make(map[string]string)}
	for path, f := range goSources(t, ".") {
		if strings.Contains(path, string(filepath.Separator)) {
			continue
		}
		var comments strings.Builder
		for _, group := range f.Comments {
			comments.WriteString(group.Text())
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if !n.Name.IsExported() {
					return false
				}
				name := n.Name.Name
				if n.Recv != nil {
					of := strings.TrimPrefix(exprText(n.Recv.List[0].Type), "*")
					name = of + "." + name
					if ast.IsExported(of) {
						d.methods = append(d.methods, name)
					}
				}
				if unsafeName.MatchString(name) {
					d.hatches[name] = n.Doc.Text()
				}
				return false
			case *ast.TypeSpec:
				if n.Name.IsExported() {
					d.types = append(d.types, n.Name.Name)
				}
				if unsafeName.MatchString(n.Name.Name) {
					d.hatches[n.Name.Name] = comments.String()
				}
				if s, ok := n.Type.(*ast.StructType); ok && n.Name.IsExported() {
					for _, field := range s.Fields.List {
						for _, name := range field.Names {
							if unsafeName.MatchString(name.Name) && name.IsExported() {
								d.hatches[n.Name.Name+"."+name.Name] = comments.String()
							}
						}
					}
				}
			case *ast.ValueSpec:
				for _, name := range n.Names {
					if name.IsExported() && unsafeName.MatchString(name.Name) {
						d.hatches[name.Name] = n.Doc.Text() + n.Comment.Text()
					}
				}
			}
			return true
		})
	}
	require.Contains(t, d.types, "Verifier")
	require.Contains(t, d.methods, "Verifier.Verify")
	return d
}

func exprText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return "*" + exprText(e.X)
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return exprText(e.X) + "." + e.Sel.Name
	case *ast.IndexExpr:
		return exprText(e.X)
	}
	return ""
}

// repoFiles are the paths below dir of this repository's own files.
func repoFiles(t *testing.T, dir string) (paths []string) {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if name := entry.Name(); entry.IsDir() && path != dir && (name == "testdata" || name == ".git" || name == "vendor" || name == "node_modules") {
			return filepath.SkipDir
		}
		if err == nil && entry.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	require.NoError(t, err)
	return paths
}

// goSources are the parsed files of Go that are no tests.
func goSources(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	parsed := make(map[string]*ast.File)
	for _, path := range repoFiles(t, dir) {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			require.NoError(t, err)
			parsed[path] = f
		}
	}
	return parsed
}

// zeroValues are the zero value and the nil pointer of each type that has
// methods; all of them are called.
var zeroValues = map[string][]any{
	"Algorithm": {jwtauth.Algorithm("")}, "EventKind": {jwtauth.EventKind("")},
	"SigningKey":      {jwtauth.SigningKey{}, &jwtauth.SigningKey{}, (*jwtauth.SigningKey)(nil)},
	"VerificationKey": {jwtauth.VerificationKey{}, &jwtauth.VerificationKey{}, (*jwtauth.VerificationKey)(nil)},
	"KeyPlan":         {jwtauth.KeyPlan{}, &jwtauth.KeyPlan{}},
	"Replica":         {&jwtauth.Replica{}, (*jwtauth.Replica)(nil)},
	"KeyRing":         {&jwtauth.KeyRing{}, (*jwtauth.KeyRing)(nil)},
	"RemoteKeySet":    {&jwtauth.RemoteKeySet{}, (*jwtauth.RemoteKeySet)(nil)},
	"Issuer":          {&jwtauth.Issuer{}, (*jwtauth.Issuer)(nil)},
	"Verifier":        {&jwtauth.Verifier{}, (*jwtauth.Verifier)(nil)},
	"Middleware":      {&jwtauth.Middleware{}, (*jwtauth.Middleware)(nil)},
	"MemoryStore":     {&jwtauth.MemoryStore{}, (*jwtauth.MemoryStore)(nil)},
	"Error":           {&jwtauth.Error{}, (*jwtauth.Error)(nil)},
	"Token":           {jwtauth.Token{}, &jwtauth.Token{}, (*jwtauth.Token)(nil)},
	"TokenResponse":   {jwtauth.TokenResponse{}, &jwtauth.TokenResponse{}, (*jwtauth.TokenResponse)(nil)},
	"Grant":           {jwtauth.Grant{}, &jwtauth.Grant{}, (*jwtauth.Grant)(nil)},
	"Event":           {jwtauth.Event{}, &jwtauth.Event{}, (*jwtauth.Event)(nil)},
	"Session":         {jwtauth.Session{}}, "SessionKey": {jwtauth.SessionKey{}}, "SessionRecord": {jwtauth.SessionRecord{}}, "Rotation": {jwtauth.Rotation{}},
	"Extractor": {jwtauth.Extractor{}}, "Policy": {jwtauth.Policy(nil)},
}

// zeroUses are what the zero values of all types must come to where they are put
// to use.
var zeroUses = map[string]func(t *testing.T, w *world){
	"Algorithm": func(t *testing.T, w *world) {
		_, err := jwtauth.GenerateKey("")
		require.Error(t, err)
		_, err = jwtauth.NewHMACKey("", "", make([]byte, 64))
		require.Error(t, err)
	},
	"CacheStats": func(t *testing.T, w *world) {
		for _, v := range []*jwtauth.Verifier{nil, {}} {
			require.Zero(t, v.CacheStats())
		}
	},
	"EventKind": func(t *testing.T, w *world) {
		jwtauth.LogEvents(quietLogger())(t.Context(), jwtauth.Event{})
	},
	"SigningKey": func(t *testing.T, w *world) {
		for _, k := range []*jwtauth.SigningKey{nil, {}, (*jwtauth.SigningKey)(nil).WithID("a"), new(jwtauth.SigningKey).WithID("a")} {
			_, err := jwtauth.NewKeyRing(k)
			require.Error(t, err)
			require.Error(t, w.keys.Set(k))
		}
		w.login("alice") // a Set that failed left the ring as it was
	},
	"VerificationKey": func(t *testing.T, w *world) {
		for _, k := range []*jwtauth.VerificationKey{nil, {}, new(jwtauth.VerificationKey).WithID("a"), new(jwtauth.SigningKey).VerificationKey()} {
			_, err := jwtauth.StaticKeys(k)
			require.Error(t, err)
			_, err = jwtauth.StaticKeys(w.key.VerificationKey(), k)
			require.Error(t, err)
			_, err = jwtauth.NewKeyRing(w.key, k)
			require.Error(t, err)
		}
	},
	"RemoteKeySet": func(t *testing.T, w *world) {
		for _, keys := range []*jwtauth.RemoteKeySet{nil, {}} {
			_, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
			require.Error(t, err)
			require.ErrorIs(t, keys.Ready(t.Context()), jwtauth.ErrUnavailable)
			require.Error(t, keys.Status().LastError)
			require.Nil(t, keys.Snapshot())
			keys.Close()
		}
	},
	"IssuerMetadata": func(t *testing.T, w *world) {
		_, err := w.issuer.MetadataHandler(jwtauth.IssuerMetadata{})
		require.ErrorContains(t, err, "JWKSURI")
	},
	"ResourceMetadata": func(t *testing.T, w *world) {
		_, _, err := jwtauth.ResourceMetadataHandler(jwtauth.ResourceMetadata{})
		require.ErrorContains(t, err, "Resource")
	},
	"RemoteKeySetOptions": func(t *testing.T, w *world) {
		_, err := jwtauth.NewRemoteKeySet("http://127.0.0.1/keys", jwtauth.RemoteKeySetOptions{})
		require.ErrorContains(t, err, "https")
	},
	"RevocationLog": func(t *testing.T, w *world) {
		_, err := jwtauth.NewReplica(nil, jwtauth.ReplicaOptions{})
		require.Error(t, err)
	},
	"RevocationWatcher": func(t *testing.T, w *world) {
		require.NoError(t, newReplica(t, &engine{}).Ready(t.Context())) // an engine that cannot push is polled
	},
	"ReplicaOptions": func(t *testing.T, w *world) {
		require.NoError(t, newReplica(t, &engine{}).Ready(t.Context()))
	},
	"ReplicaStatus": func(t *testing.T, w *world) { require.Error(t, new(jwtauth.Replica).Status().LastError) },
	"Replica": func(t *testing.T, w *world) {
		for _, r := range []*jwtauth.Replica{nil, {}} {
			foreign := w.foreign(func(o *jwtauth.VerifierOptions) { o.Revocations = r })
			_, err := foreign.Verify(t.Context(), w.login("alice").AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		}
	},
	"ResolveOptions": func(t *testing.T, w *world) {
		_, err := jwtauth.ResolveIssuers(nil, jwtauth.ResolveOptions{})
		require.Error(t, err)
		all, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { return nil, nil }, jwtauth.ResolveOptions{})
		require.NoError(t, err)
		_, err = all.Verify(t.Context(), w.login("alice").AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	},
	"KeySource": func(t *testing.T, w *world) {
		_, err := jwtauth.OpenKeyRing(t.Context(), nil, jwtauth.KeyRingOptions{})
		require.ErrorContains(t, err, "no KeySource")
	},
	"StoredKey": func(t *testing.T, w *world) {
		_, err := jwtauth.OpenKeyRing(t.Context(), jwtauth.FixedKeys(jwtauth.StoredKey{}), jwtauth.KeyRingOptions{})
		require.ErrorContains(t, err, "missing")
	},
	"KeyLife": func(t *testing.T, w *world) {
		key := jwtauth.StoredKey{Key: w.key} // of which nothing is known but the key
		ring, err := jwtauth.OpenKeyRing(t.Context(), jwtauth.FixedKeys(key), jwtauth.KeyRingOptions{})
		require.NoError(t, err)
		require.Equal(t, w.key.ID(), ring.Plan()[0].ID)
	},
	"KeyPlan":  func(t *testing.T, w *world) { require.Empty(t, new(jwtauth.KeyRing).Plan()) },
	"KeyState": func(t *testing.T, w *world) { require.Zero(t, jwtauth.KeyPlan{}.State) },
	"KeyRingOptions": func(t *testing.T, w *world) {
		ring, err := jwtauth.OpenKeyRing(t.Context(), jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{})
		require.NoError(t, err)
		require.Equal(t, jwtauth.ES256, ring.Plan()[0].Algorithm)
	},
	"KeyRingStatus": func(t *testing.T, w *world) { require.Error(t, new(jwtauth.KeyRing).Status().LastError) },
	"RemoteKeySetStatus": func(t *testing.T, w *world) {
		keys, err := jwtauth.NewRemoteKeySet("https://issuer.test/keys", jwtauth.RemoteKeySetOptions{})
		require.NoError(t, err)
		require.Zero(t, keys.Status())
	},
	"KeyRing": func(t *testing.T, w *world) {
		for _, ring := range []*jwtauth.KeyRing{nil, {}} {
			_, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
			require.Error(t, err)
			_, err = jwtauth.NewVerifier(ring, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
			require.Error(t, err)
			answer := httptest.NewRecorder()
			ring.ServeHTTP(answer, request("GET", "/"))
			require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		}
		_, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}, RefreshKeys: &jwtauth.KeyRing{}})
		require.Error(t, err)
	},
	"KeySet": func(t *testing.T, w *world) {
		_, err := jwtauth.NewVerifier(nil, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
		require.Error(t, err)
	},
	"ContextSigner": func(t *testing.T, w *world) {
		_, err := jwtauth.NewSigningKey(jwtauth.ES256, nil)
		require.Error(t, err)
		_, err = jwtauth.NewSigningKey(jwtauth.ES256, (*ecdsa.PrivateKey)(nil))
		require.Error(t, err)
		_, err = jwtauth.NewSigningKey(jwtauth.RS256, &rsa.PrivateKey{})
		require.Error(t, err)
	},
	"Issuer": func(t *testing.T, w *world) {},
	"IssuerOptions": func(t *testing.T, w *world) {
		_, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{})
		require.Error(t, err)
	},
	"Verifier": func(t *testing.T, w *world) {
		for _, v := range []*jwtauth.Verifier{nil, {}} {
			_, err := jwtauth.AnyOf(v)
			require.Error(t, err)
			_, err = jwtauth.AnyOf(w.verifier, v)
			require.Error(t, err)
			_, err = jwtauth.NewMiddleware(v, jwtauth.MiddlewareOptions{})
			require.Error(t, err)
		}
		_, err := jwtauth.AnyOf()
		require.Error(t, err)
	},
	"VerifierOptions": func(t *testing.T, w *world) {
		_, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{})
		require.ErrorContains(t, err, "Issuer")
		_, err = jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer})
		require.ErrorContains(t, err, "Audiences")
	},
	"TokenVerifier": func(t *testing.T, w *world) {
		_, err := jwtauth.NewMiddleware(nil, jwtauth.MiddlewareOptions{})
		require.Error(t, err)
	},
	"Middleware":        func(t *testing.T, w *world) {},
	"MiddlewareOptions": func(t *testing.T, w *world) { w.requireNone(request("GET", "/")) }, // which newWorld takes
	"Extractor": func(t *testing.T, w *world) {
		for _, e := range []jwtauth.Extractor{{}, jwtauth.NewExtractor(nil), jwtauth.FromWebSocketProtocol("")} {
			_, err := jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromHeader(), e}})
			require.Error(t, err)
		}
	},
	"Policy": func(t *testing.T, w *world) {
		for _, m := range []*jwtauth.Middleware{w.auth.With(), w.auth.With(nil), w.auth.With(jwtauth.Scopes()), w.auth.With(jwtauth.AnyScope()), w.auth.With(jwtauth.LoginWithin(0))} {
			requireClosed(t, w, m.Require, m.Optional)
		}
	},
	"Token": func(t *testing.T, w *world) {
		_, err := jwtauth.ClaimsAs[map[string]any](jwtauth.Token{})
		require.ErrorIs(t, err, jwtauth.ErrNoToken)
		require.ErrorIs(t, w.verifier.Recheck(t.Context(), jwtauth.Token{}), jwtauth.ErrNoToken)
		require.ErrorIs(t, w.verifier.Revoke(t.Context(), jwtauth.Token{}), jwtauth.ErrNoToken)
		ctx := jwtauth.NewContext(t.Context(), jwtauth.Token{})
		answer, ran := w.do(request("GET", "/").WithContext(ctx))
		require.False(t, ran)
		require.Equal(t, http.StatusUnauthorized, answer.Code)
		for _, policy := range []jwtauth.Policy{jwtauth.Scopes("a"), jwtauth.AnyScope("a"), jwtauth.AnyScope(""), jwtauth.LoginWithin(time.Hour)} {
			require.Error(t, policy(request("GET", "/"), jwtauth.Token{}))
		}
	},
	"TokenResponse": func(t *testing.T, w *world) {
		answer := httptest.NewRecorder()
		jwtauth.WriteTokens(answer, jwtauth.TokenResponse{})
		require.Equal(t, http.StatusInternalServerError, answer.Code)
	},
	"Grant": func(t *testing.T, w *world) {
		for _, issue := range []func(context.Context, jwtauth.Grant) (jwtauth.TokenResponse, error){w.issuer.Issue, w.issuer.IssueAccess} {
			r, err := issue(t.Context(), jwtauth.Grant{})
			require.Error(t, err)
			require.Zero(t, r)
		}
	},
	"Session": func(t *testing.T, w *world) { require.NoError(t, w.issuer.EndSession(t.Context(), "", "")) },
	"SessionKey": func(t *testing.T, w *world) {
		require.NoError(t, w.store.Delete(t.Context(), jwtauth.SessionKey{}))
		_, _, err := w.store.Advance(t.Context(), jwtauth.SessionKey{}, jwtauth.Rotation{})
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
	},
	"SessionRecord": func(t *testing.T, w *world) { // it has expired long ago
		require.NoError(t, w.store.Create(t.Context(), jwtauth.SessionRecord{}))
		_, advanced, err := w.store.Advance(t.Context(), jwtauth.SessionKey{}, jwtauth.Rotation{From: 1, At: w.clock.Now()})
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
		require.False(t, advanced)
	},
	"Rotation": func(t *testing.T, w *world) {
		key := jwtauth.SessionKey{Issuer: testIssuer, Subject: "zoe", ID: "1"}
		require.NoError(t, w.store.Create(t.Context(), jwtauth.SessionRecord{Key: key, Generation: 1, ExpiresAt: w.clock.Now().Add(time.Hour)}))
		_, advanced, err := w.store.Advance(t.Context(), key, jwtauth.Rotation{})
		require.NoError(t, err)
		require.False(t, advanced)
	},
	"SessionStore": func(t *testing.T, w *world) {
		i, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Revocations: w.store})
		require.NoError(t, err)
		_, err = i.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.Error(t, err)
		_, err = i.Refresh(t.Context(), w.login("alice").RefreshToken)
		require.Error(t, err)
		require.Error(t, i.EndAllSessions(t.Context(), "alice"))
	},
	"RevocationStore": func(t *testing.T, w *world) {
		_, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Sessions: w.store})
		require.ErrorContains(t, err, "Revocations")
		v, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Now: w.clock.Now})
		require.NoError(t, err)
		token, err := v.Verify(t.Context(), w.login("alice").AccessToken)
		require.NoError(t, err)
		require.Error(t, v.Revoke(t.Context(), token), "a revocation that nobody keeps is no success")
	},
	"MemoryStore": func(t *testing.T, w *world) {
		for _, store := range []*jwtauth.MemoryStore{nil, {}} {
			broken := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Sessions, o.Revocations = store, store })
			_, err := broken.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			r := w.login("alice")
			broken.requireRefreshUnavailable(r.RefreshToken)
			require.ErrorIs(t, broken.issuer.Logout(t.Context(), r.AccessToken), jwtauth.ErrUnavailable)
			broken.requireUnavailable(r.AccessToken)
		}
	},
	"MemoryStoreOptions": func(t *testing.T, w *world) {
		store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
		require.NoError(t, store.Revoke(t.Context(), "x", time.Now().Add(time.Hour)))
		revoked, err := store.IsRevoked(t.Context(), "x")
		require.NoError(t, err)
		require.True(t, revoked)
	},
	"Error": func(t *testing.T, w *world) {
		for _, err := range []error{nil, (*jwtauth.Error)(nil), &jwtauth.Error{}, &jwtauth.Error{Status: 200}, &jwtauth.Error{Status: 302}} {
			answer := httptest.NewRecorder()
			jwtauth.WriteError(answer, request("GET", "/"), err)
			require.Equal(t, http.StatusInternalServerError, answer.Code)
			m := w.auth.With(func(*http.Request, jwtauth.Token) error { return err })
			if err != nil {
				requireClosed(t, w, m.Require, m.Optional)
			}
		}
	},
	"Event": func(t *testing.T, w *world) {},
}

// requireClosed wants handlers that are wrapped in one of these ways not to run,
// for any request.
func requireClosed(t *testing.T, w *world, wraps ...func(http.Handler) http.Handler) {
	t.Helper()
	token := "Bearer " + w.login("alice").AccessToken
	for _, wrap := range wraps {
		ran := false
		h := wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran = true }))
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, request("GET", "/", token))
		require.False(t, ran, "the handler ran")
		require.GreaterOrEqual(t, answer.Code, 400)
	}
}

// maySucceed are the methods that may succeed on a zero value: they print it, or
// fill it.
var maySucceed = map[string]bool{
	"SigningKey.MarshalText": true, "VerificationKey.MarshalText": true, "Token.MarshalText": true, "Grant.MarshalText": true, "KeyRing.Set": true, "Replica.Close": true,
}

func attackZeroValues(t *testing.T) {
	declared := declaredIn(t)
	w := newWorld(t)
	require.ElementsMatch(t, declared.types, slices.Collect(maps.Keys(zeroUses)), "a type whose zero value nobody tried")
	for name, use := range zeroUses {
		t.Run(name, func(t *testing.T) { use(t, w) })
	}
	called := make(map[string]bool)
	for name, values := range zeroValues {
		require.Contains(t, declared.types, name)
		for _, v := range values {
			for i := range reflect.TypeOf(v).NumMethod() {
				method := name + "." + reflect.TypeOf(v).Method(i).Name
				if !slices.Contains(declared.methods, method) {
					continue // promoted, or of export_test.go
				}
				t.Run(fmt.Sprintf("%s of %T", method, v), func(t *testing.T) { callZero(t, w, method, reflect.ValueOf(v), i) })
				called[method] = true
			}
			require.NotPanics(t, func() { printed(v) })
		}
	}
	for _, method := range declared.methods {
		require.True(t, called[method], "%s is not called", method)
	}
}

// callZero calls a method of a zero value with good arguments: it may not panic,
// and what it returns may not open anything.
func callZero(t *testing.T, w *world, name string, v reflect.Value, i int) {
	method := v.Type().Method(i)
	if v.Kind() == reflect.Pointer && v.IsNil() {
		if _, byValue := v.Type().Elem().MethodByName(method.Name); byValue {
			return // no such call can reach the method; fmt, slog and JSON print nil
		}
	}
	tokens := w.login("alice")
	verified := w.requireAccepted(tokens.AccessToken)
	good := map[reflect.Type]any{
		reflect.TypeFor[context.Context](): t.Context(), reflect.TypeFor[string](): tokens.AccessToken,
		reflect.TypeFor[*http.Request](): request("GET", "/", "Bearer "+tokens.AccessToken), reflect.TypeFor[http.ResponseWriter](): httptest.NewRecorder(),
		reflect.TypeFor[jwtauth.Token](): verified, reflect.TypeFor[jwtauth.Grant](): jwtauth.Grant{Subject: "alice"}, reflect.TypeFor[*jwtauth.SigningKey](): w.key,
		reflect.TypeFor[jwtauth.VerifierOptions](): jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}},
		reflect.TypeFor[http.Handler]():            http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") }),
		reflect.TypeFor[fmt.State]():               state{},
		reflect.TypeFor[jwtauth.SessionRecord]():   jwtauth.SessionRecord{ExpiresAt: w.clock.Now().Add(time.Hour)},
		reflect.TypeFor[time.Time]():               w.clock.Now().Add(time.Hour),
	}
	var in []reflect.Value
	f := v.Method(i)
	for n := range f.Type().NumIn() {
		if f.Type().IsVariadic() && n == f.Type().NumIn()-1 {
			break
		}
		if arg, ok := good[f.Type().In(n)]; ok {
			in = append(in, reflect.ValueOf(arg))
		} else {
			in = append(in, reflect.Zero(f.Type().In(n)))
		}
	}
	out := f.Call(in)
	for n, result := range out {
		switch r := result.Interface().(type) {
		case http.Handler:
			requireClosed(t, w, func(http.Handler) http.Handler { return r })
		case *jwtauth.Middleware:
			requireClosed(t, w, r.Require, r.Optional)
		case bool:
			require.False(t, r)
		case error:
		case *jwtauth.VerificationKey:
			_, err := jwtauth.StaticKeys(r)
			require.Error(t, err)
		case *jwtauth.SigningKey:
			_, err := jwtauth.NewKeyRing(r)
			require.Error(t, err)
		default:
			if last := out[len(out)-1]; n < len(out)-1 && last.Type() == reflect.TypeFor[error]() && !maySucceed[name] {
				require.True(t, result.IsZero(), "%v", result)
			}
		}
	}
	if len(out) > 0 && out[len(out)-1].Type() == reflect.TypeFor[error]() && !(maySucceed[name] && !(v.Kind() == reflect.Pointer && v.IsNil())) {
		require.False(t, out[len(out)-1].IsNil(), "%s reports success", name)
	}
}

// state is a fmt.State that writes nowhere.
type state struct{ bytes.Buffer }

func (state) Write(b []byte) (int, error) { return len(b), nil }
func (state) Width() (int, bool)          { return 0, false }
func (state) Precision() (int, bool)      { return 0, false }
func (state) Flag(int) bool               { return true }

func attackUnsafeAlgorithms(t *testing.T) {
	secret := []byte(rand32(t))
	elliptic := keyFor(t, jwtauth.ES256)
	pem, err := elliptic.PrivatePEM()
	require.NoError(t, err)
	public, err := elliptic.VerificationKey().PEM()
	require.NoError(t, err)
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for _, alg := range []jwtauth.Algorithm{"none", "None", "NONE", "nOnE", "null", " HS256", "HS256 ", "hs256", "HS1", "RS1", "HS256,none", "HS256 none", "A256GCM", "dir", "ES256K", "\x00"} {
		_, err := jwtauth.GenerateKey(alg)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwtauth.NewHMACKey(alg, "", secret)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwtauth.NewSigningKey(alg, signer)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwtauth.ParseSigningKey(alg, pem)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwtauth.ParseVerificationKey(alg, public)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwtauth.ParseVerificationKey("", []byte(`{"kty":"OKP","crv":"Ed25519","alg":`+strconv.Quote(string(alg))+`,"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
		require.Error(t, err)
	}
	// Nothing stands for "any key" or "any algorithm".
	_, err = jwtauth.StaticKeys()
	require.ErrorContains(t, err, "no keys")
	for _, keys := range []jwtauth.KeySet{nil, (*jwtauth.KeyRing)(nil), &jwtauth.KeyRing{}} {
		_, err = jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
		require.Error(t, err)
	}
	_, err = jwtauth.NewKeyRing(nil)
	require.Error(t, err)
	_, err = jwtauth.NewIssuer(nil, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
	require.Error(t, err)
	for _, names := range [][]string{nil, {}, {""}, {testAudience, ""}, {" "}} {
		_, err = jwtauth.NewVerifier(newWorld(t).keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: names})
		require.ErrorContains(t, err, "Audiences")
	}
}

func attackResultOnError(t *testing.T) {
	for _, r := range refusals {
		w := newStrictWorld(t)
		token := r.token(w)
		got, err := w.verifier.Verify(t.Context(), token)
		require.ErrorIs(t, err, r.reason, r.name)
		require.Equal(t, jwtauth.Token{}, got, r.name)
		got, err = w.auth.Authenticate(request("GET", "/", "Bearer "+token))
		require.Error(t, err, r.name)
		require.Equal(t, jwtauth.Token{}, got, r.name)
		answer, ran := w.get(token)
		require.False(t, ran, r.name)
		require.Equal(t, http.StatusUnauthorized, answer.Code, r.name)
		tokens, err := w.issuer.Refresh(t.Context(), token)
		require.Error(t, err, r.name)
		require.Zero(t, tokens, r.name)
	}
	w, store := newHookedWorld(t)
	token := w.login("alice").AccessToken
	store.before = failing
	w.requireUnavailable(token)
	for _, issue := range []func() (jwtauth.TokenResponse, error){
		func() (jwtauth.TokenResponse, error) {
			return w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		},
		func() (jwtauth.TokenResponse, error) { return w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: ""}) },
		func() (jwtauth.TokenResponse, error) {
			return w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "a", Scopes: []string{""}})
		},
		func() (jwtauth.TokenResponse, error) { return w.issuer.Refresh(t.Context(), token) },
	} {
		got, err := issue()
		require.Error(t, err)
		require.Zero(t, got)
	}
	claims, err := jwtauth.ClaimsAs[struct{ Sub int }](aliceToken(t))
	require.Error(t, err)
	require.Zero(t, claims)
}

// aliceToken is a good token of alice.
func aliceToken(t *testing.T) jwtauth.Token {
	w := newWorld(t)
	return w.requireAccepted(w.login("alice").AccessToken)
}

var (
	privatePEM = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\\n\s]+[A-Za-z0-9+/=\s]{40}`)
	privateJWK = regexp.MustCompile(`\\?"(?:d|k|p|q|dp|dq|qi)\\?"\s*:\s*\\?"[A-Za-z0-9_-]{20,}`)
	secretCall = regexp.MustCompile("NewHMACKey\\([^\\n]*[\"`][^\"`\\n]{32,}[\"`]")
)

// findSecrets tells where a text has what could serve as a key.
func findSecrets(text string) (found []string) {
	for _, form := range []*regexp.Regexp{privatePEM, privateJWK, secretCall} {
		found = append(found, form.FindAllString(text, -1)...)
	}
	return found
}

// literalSecrets are the constant texts of 32 bytes and more that a file gives to
// the functions that make keys, directly or by a name.
func literalSecrets(f *ast.File) (found []string) {
	values := make(map[string][]ast.Expr) // by name, wherever it is declared
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for _, name := range n.Names {
				values[name.Name] = append(values[name.Name], n.Values...)
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if name, ok := left.(*ast.Ident); ok {
					values[name.Name] = append(values[name.Name], n.Rhs...)
				}
			}
		}
		return true
	})
	var look func(n ast.Node, depth int)
	look = func(n ast.Node, depth int) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && len(s) >= 32 {
					found = append(found, s)
				}
			case *ast.CompositeLit:
				if len(n.Elts) >= 32 {
					found = append(found, "a literal of "+strconv.Itoa(len(n.Elts))+" elements")
				}
			case *ast.Ident:
				if depth < 4 {
					for _, value := range values[n.Name] {
						look(value, depth+1)
					}
				}
			}
			return true
		})
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch name := exprText(call.Fun); name[strings.LastIndexByte(name, '.')+1:] {
			case "NewHMACKey", "ParseSigningKey":
				for _, arg := range call.Args[min(1, len(call.Args)):] {
					look(arg, 0)
				}
			}
		}
		return true
	})
	return found
}

func attackBuiltInSecrets(t *testing.T) {
	// That the search finds what it is for.
	pem, err := keyFor(t, jwtauth.ES256).PrivatePEM()
	require.NoError(t, err)
	for _, sample := range []string{string(pem), rand32(t), `key, err := jwtauth.NewHMACKey(jwtauth.HS256, "", []byte("k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s"))`} {
		require.NotEmpty(t, findSecrets(sample), sample)
	}
	for _, body := range []string{
		`var k, _ = jwtauth.NewHMACKey("HS256", "", []byte("k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s"))`,
		`const fallback = "k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s"; func f(s string) { if s == "" { s = fallback }; NewHMACKey("HS256", "", []byte(s)) }`,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+body, 0)
		require.NoError(t, err)
		require.NotEmpty(t, literalSecrets(f), body)
	}

	searched := 0
	for path, f := range goSources(t, ".") {
		require.Empty(t, literalSecrets(f), path)
	}
	for _, path := range repoFiles(t, ".") {
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".sum") {
			continue
		}
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Empty(t, findSecrets(string(content)), path)
		searched++
	}
	require.Greater(t, searched, 20)
	// What documents print as a secret is no secret here.
	for _, sample := range []string{
		"your-256-bit-secret-your-256-bit-secret", "a-string-secret-at-least-256-bits-long", "change-this-secret-0123456789-abcdefghij",
		strings.Repeat("secret", 10), strings.Repeat("\x00", 64), "0123456789abcdef0123456789abcdef", "abcdefghijklmnopqrstuvwxyz0123456789",
	} {
		_, err := jwtauth.NewHMACKey(jwtauth.HS256, "", []byte(sample))
		require.Error(t, err, sample)
	}
}

// escapeHatches are all names that take a protection away, each with the proof
// that it is off by default.
var escapeHatches = map[string]func(t *testing.T, w *world){
	"ReplicaOptions.InsecureStaleFor": func(t *testing.T, w *world) {
		for _, stale := range []time.Duration{0, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				e := new(engine)
				r := newReplica(t, e, func(o *jwtauth.ReplicaOptions) { o.InsecureStaleFor = stale })
				require.NoError(t, r.Ready(t.Context()))
				e.set(func(e *engine) { e.err = errStoreDown })
				time.Sleep(3 * time.Second)
				_, err := r.IsRevoked(t.Context(), "x")
				require.Equal(t, stale == 0, err != nil)
			})
		}
	},
	"RemoteKeySetOptions.InsecureLoopbackHTTP": func(t *testing.T, w *world) {
		for address, loopback := range map[string]bool{
			"127.0.0.1": true, "127.1.2.3:8080": true, "localhost:1": true, "[::1]:8443": true,
			"0.0.0.0": false, "10.0.0.1": false, "localhost.test": false, "127.0.0.1.test": false, "127.1": false, "2130706433": false, "[::ffff:10.0.0.1]": false,
		} {
			_, err := jwtauth.NewRemoteKeySet("http://"+address+"/keys", jwtauth.RemoteKeySetOptions{})
			require.ErrorContains(t, err, "https", address)
			_, err = jwtauth.NewRemoteKeySet("http://"+address+"/keys", jwtauth.RemoteKeySetOptions{InsecureLoopbackHTTP: true})
			require.Equal(t, loopback, err == nil, address)
		}
	},
	"IssuerOptions.InsecureAccessOutlivesSession": func(t *testing.T, w *world) {
		o := jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Sessions: w.store}
		_, err := jwtauth.NewIssuer(w.keys, o)
		require.ErrorContains(t, err, "InsecureAccessOutlivesSession")
		o.InsecureAccessOutlivesSession = true
		_, err = jwtauth.NewIssuer(w.keys, o)
		require.NoError(t, err)
		o.Revocations = w.store
		_, err = jwtauth.NewIssuer(w.keys, o)
		require.ErrorContains(t, err, "contradict")
	},
	"VerifierOptions.InsecureAnyAudience": func(t *testing.T, w *world) {
		o := jwtauth.VerifierOptions{Issuer: testIssuer, Now: w.clock.Now}
		_, err := jwtauth.NewVerifier(w.keys, o)
		require.ErrorContains(t, err, "Audiences")
		o.InsecureAnyAudience = true
		v, err := jwtauth.NewVerifier(w.keys, o)
		require.NoError(t, err)
		foreign := w.sign(w.claims(map[string]any{"aud": "https://other.test"}))
		_, err = v.Verify(t.Context(), foreign)
		require.NoError(t, err)
		require.ErrorIs(t, w.requireRefused(foreign), jwtauth.ErrTokenAudience)
		o.Audiences = []string{testAudience}
		_, err = jwtauth.NewVerifier(w.keys, o)
		require.ErrorContains(t, err, "contradict")
		_, err = w.issuer.NewVerifier(jwtauth.VerifierOptions{InsecureAnyAudience: true})
		require.Error(t, err)
	},
	"VerifierOptions.InsecureAcceptUnknownRevocation": func(t *testing.T, w *world) {
		closed, store := newHookedWorld(t)
		token := closed.login("alice").AccessToken
		var events []jwtauth.Event
		o := jwtauth.VerifierOptions{InsecureAcceptUnknownRevocation: true, OnEvent: func(_ context.Context, e jwtauth.Event) { events = append(events, e) }}
		open, err := closed.issuer.NewVerifier(o)
		require.NoError(t, err)
		_, err = open.Verify(t.Context(), token)
		require.NoError(t, err)
		require.Empty(t, events, "there was an answer")
		store.before = failing
		closed.requireUnavailable(token)
		for n := 1; n <= 3; n++ {
			got, err := open.Verify(t.Context(), token)
			require.NoError(t, err)
			require.Len(t, events, n)
			require.Equal(t, jwtauth.RevocationUnknown, events[n-1].Kind)
			require.Equal(t, got.ID, events[n-1].TokenID)
			require.ErrorIs(t, events[n-1].Err, errStoreDown)
		}
		_, err = jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, InsecureAcceptUnknownRevocation: true})
		require.ErrorContains(t, err, "InsecureAcceptUnknownRevocation")
	},
}

func attackEscapeHatches(t *testing.T) {
	hatches := declaredIn(t).hatches
	require.ElementsMatch(t, slices.Collect(maps.Keys(hatches)), slices.Collect(maps.Keys(escapeHatches)), "an escape hatch has no test here")
	for name, comment := range hatches {
		own := name[strings.LastIndexByte(name, '.')+1:]
		require.Regexp(t, `\b`+own+`\s+\w+`, comment, "no comment says what %s does", name)
	}
	for name, off := range escapeHatches {
		t.Run(name, func(t *testing.T) { off(t, newWorld(t)) })
	}
	// A value that says nothing opens nothing, in whichever options it stands.
	for _, options := range []any{jwtauth.IssuerOptions{}, jwtauth.VerifierOptions{}, jwtauth.MiddlewareOptions{}, jwtauth.MemoryStoreOptions{}, jwtauth.RemoteKeySetOptions{}} {
		of := reflect.TypeOf(options)
		for i := range of.NumField() {
			if f := of.Field(i); f.Type.Kind() == reflect.Bool {
				require.True(t, strings.HasPrefix(f.Name, "Insecure") || strings.HasPrefix(f.Name, "Accept") || f.Name == "CacheDigests" || f.Name == "Background", "%s.%s sounds harmless", of.Name(), f.Name)
			}
		}
	}
}
