package loginserver

import (
	"bytes"
	"flag"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

func TestABadFlagIsOneLineThatTeaches(t *testing.T) {
	const (
		ttl   = "a duration of 1s to 24h0m0s is expected, e.g. 15m"
		long  = "a duration of 1s to 8784h0m0s is expected, e.g. 15m"
		short = "a duration of 4s to 1m is expected, e.g. 10s, or 0 for none"
		url   = "a URL without query and fragment is expected, e.g. https://api.example.com"
		host  = "HOST:PORT is expected, e.g. 127.0.0.1:8080"
		name  = "a name without blanks is expected, e.g. https://api.example.com"
		proxy = "addresses or networks with commas between them are expected, e.g. 127.0.0.1 or 10.1.0.0/16,fd00::/64"
		empty = "a value that is not empty is expected"
	)
	for _, c := range []struct{ args, line string }{
		{"-addr 8080", `invalid value "8080" for flag -addr: ` + host},
		{"-addr 127.0.0.1:http", `invalid value "127.0.0.1:http" for flag -addr: ` + host},
		{"-addr 127.0.0.1:65536", `invalid value "127.0.0.1:65536" for flag -addr: ` + host},
		{"-addr", `flag needs an argument: -addr: HOST:PORT is expected`},
		{"-addr=", `invalid value "" for flag -addr: ` + empty},
		{"-issuer api.example.com", `invalid value "api.example.com" for flag -issuer: ` + url},
		{"-issuer https://a/#b", `invalid value "https://a/#b" for flag -issuer: ` + url},
		{"-issuer https://a/?b", `invalid value "https://a/?b" for flag -issuer: ` + url},
		{"-issuer ftp://a", `invalid value "ftp://a" for flag -issuer: ` + url},
		{"-issuer https://me@a", `invalid value "https://me@a" for flag -issuer: ` + url},
		{"-audience a\u00a0b", `invalid value "a\u00a0b" for flag -audience: ` + name},
		{"-audience a#refresh", `-issuer, -audience: Audiences: "a#refresh" is the audience of refresh tokens, which are for no API`},
		{"-key=", `invalid value "" for flag -key: the name of a file or a directory is expected`},
		{"-access-ttl 15", `invalid value "15" for flag -access-ttl: ` + ttl},
		{"-access-ttl 0", `invalid value "0" for flag -access-ttl: ` + ttl},
		{"-access-ttl -1m", `invalid value "-1m" for flag -access-ttl: ` + ttl},
		{"-access-ttl 25h", `invalid value "25h" for flag -access-ttl: ` + ttl},
		{"-refresh-ttl 7d", `invalid value "7d" for flag -refresh-ttl: ` + long},
		{"-session-ttl 9999h", `invalid value "9999h" for flag -session-ttl: ` + long},
		{"-refresh-grace 2m", `invalid value "2m" for flag -refresh-grace: ` + short},
		{"-refresh-grace 1s", `invalid value "1s" for flag -refresh-grace: ` + short},
		{"-refresh-grace 3999ms", `invalid value "3999ms" for flag -refresh-grace: ` + short},
		{"-refresh-grace x", `invalid value "x" for flag -refresh-grace: ` + short},
		{"-login-limit 0", `invalid value "0" for flag -login-limit: a number from 1 to 100 is expected`},
		{"-login-limit five", `invalid value "five" for flag -login-limit: a number from 1 to 100 is expected`},
		{"-login-window 10ms", `invalid value "10ms" for flag -login-window: ` + ttl},
		{"-trusted-proxy=", `invalid value "" for flag -trusted-proxy: ` + proxy},
		{"-trusted-proxy nginx", `invalid value "nginx" for flag -trusted-proxy: ` + proxy},
		{"-trusted-proxy 10.0.0.0/33", `invalid value "10.0.0.0/33" for flag -trusted-proxy: ` + proxy},
		{"-trusted-proxy 10.0.0.1;10.0.0.2", `invalid value "10.0.0.1;10.0.0.2" for flag -trusted-proxy: ` + proxy},
		{"-trusted-proxy ::ffff:10.0.0.1", `invalid value "::ffff:10.0.0.1" for flag -trusted-proxy: ` + proxy},
		{"-trusted-proxy 0.0.0.0/0", `invalid value "0.0.0.0/0" for flag -trusted-proxy: this network has every address: only the addresses of your proxies are expected, since anybody else can forge X-Forwarded-For`},
		{"-log xml", `invalid value "xml" for flag -log: json or text is expected`},
		{"-insecure-http=perhaps", `invalid boolean value "perhaps" for -insecure-http: true or false is expected`},
		{"-nonsense", `flag provided but not defined: -nonsense: one of the flags that -h lists is expected`},
		{"serve", `unexpected argument "serve": flags alone are expected, see -h`},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Split(c.args, " ")
			if strings.HasPrefix(c.args, "-audience a#") {
				args = append(args, "-addr", "127.0.0.1:0")
			}
			require.Equal(t, "server: "+c.line, programtest.ErrorLine(t, command.Run, nil, args...))
		})
	}
}

func TestEachFlagHasItsVariable(t *testing.T) {
	values := map[string]string{
		"addr": "127.0.0.1:1234", "issuer": "https://i.test", "audience": "https://a.test", "key": "a.pem",
		"secret-env": "NAME", "access-ttl": "1m0s", "refresh-ttl": "2m0s", "session-ttl": "3m0s", "refresh-grace": "4s",
		"users": "u.json", "hash-password": "true", "login-limit": "6", "login-window": "7m0s", "tls-cert": "c.pem", "tls-key": "k.pem",
		"insecure-http": "true", "trusted-proxy": "10.0.0.1,fd00::/8", "store": "sqlite:s.db", "log": "json",
	}
	want := config{
		addr: "127.0.0.1:1234", issuer: "https://i.test", audience: "https://a.test", keyFiles: []string{"a.pem"},
		secretEnv: "NAME", accessTTL: time.Minute, refreshTTL: 2 * time.Minute, sessionTTL: 3 * time.Minute, refreshGrace: 4 * time.Second,
		usersFile: "u.json", hashPassword: true, loginLimit: 6, loginWindow: 7 * time.Minute, tlsCert: "c.pem", tlsKey: "k.pem",
		trustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("fd00::/8")},
		insecureHTTP:   true, store: "sqlite:s.db", logFormat: "json",
	}
	env, args := map[string]string{}, []string{}
	command.flags(&config{}).VisitAll(func(f *flag.Flag) {
		require.NotEmpty(t, values[f.Name], f.Name)
		env["JWTAUTH_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))] = values[f.Name]
		args = append(args, "-"+f.Name+"="+values[f.Name])
	})
	require.Len(t, env, len(values))

	byEnv, err := command.parseFlags(nil, func(name string) string { return env[name] })
	require.NoError(t, err)
	require.Equal(t, &want, byEnv)
	byFlag, err := command.parseFlags(args, programtest.NoEnv)
	require.NoError(t, err)
	require.Equal(t, &want, byFlag)
}

func TestTheDefaultsAreTheDocumentedOnes(t *testing.T) {
	c, err := command.parseFlags(nil, programtest.NoEnv)
	require.NoError(t, err)
	require.Equal(t, &config{
		addr: "127.0.0.1:8080", logFormat: "text", accessTTL: 15 * time.Minute, refreshTTL: 7 * 24 * time.Hour,
		sessionTTL: 30 * 24 * time.Hour, refreshGrace: 10 * time.Second, loginLimit: 10, loginWindow: 15 * time.Minute,
	}, c)
}

func TestAFlagWinsOverItsVariable(t *testing.T) {
	env := map[string]string{"JWTAUTH_LOG": "nonsense", "JWTAUTH_KEY": "a.pem", "JWTAUTH_LOGIN_LIMIT": "7", "JWTAUTH_ADDR": ""}
	c, err := command.parseFlags([]string{"-log", "json", "-key", "b.pem", "-key", "c:d.pem"}, func(name string) string { return env[name] })
	require.NoError(t, err)
	require.Equal(t, "json", c.logFormat)
	require.Equal(t, []string{"b.pem", "c:d.pem"}, c.keyFiles)
	require.Equal(t, 7, c.loginLimit)
	require.Equal(t, "127.0.0.1:8080", c.addr, "an empty variable is none")
}

func TestABadVariableIsOneLineThatNamesIt(t *testing.T) {
	require.Equal(t, `server: invalid value "soon" for JWTAUTH_ACCESS_TTL: a duration of 1s to 24h0m0s is expected, e.g. 15m`,
		programtest.ErrorLine(t, command.Run, map[string]string{"JWTAUTH_ACCESS_TTL": "soon"}))
	require.Equal(t, `server: invalid value "" for JWTAUTH_KEY: the name of a file or a directory is expected`,
		programtest.ErrorLine(t, command.Run, map[string]string{"JWTAUTH_KEY": "a.pem" + string(filepath.ListSeparator) + string(filepath.ListSeparator) + "b.pem"}))
	require.Equal(t, `server: invalid value "2" for JWTAUTH_INSECURE_HTTP: true or false is expected`,
		programtest.ErrorLine(t, command.Run, map[string]string{"JWTAUTH_INSECURE_HTTP": "2"}))
}

func TestAVariableHoldsSeveralKeys(t *testing.T) {
	c, err := command.parseFlags(nil, func(name string) string {
		return map[string]string{"JWTAUTH_KEY": "a.pem" + string(filepath.ListSeparator) + "b.pem"}[name]
	})
	require.NoError(t, err)
	require.Equal(t, []string{"a.pem", "b.pem"}, c.keyFiles)
}

func TestNoGraceIsZeroOrNegative(t *testing.T) {
	for _, none := range []string{"0", "0s", "-1s", "-5m"} {
		c, err := command.parseFlags([]string{"-refresh-grace", none}, programtest.NoEnv)
		require.NoError(t, err)
		require.Zero(t, c.refreshGrace)
	}
}

func TestHelpListsTheFlags(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitOK, command.Run(t.Context(), []string{"-h"}, programtest.NoEnv, &stdout, &stderr))
	require.Empty(t, stderr.String())
	command.flags(&config{}).VisitAll(func(f *flag.Flag) { require.Contains(t, stdout.String(), "  -"+f.Name) })
	require.Contains(t, stdout.String(), "JWTAUTH_ACCESS_TTL")
	require.Contains(t, stdout.String(), "(default 127.0.0.1:8080)")
	require.Contains(t, stdout.String(), "4s to 1m")
	require.Contains(t, stdout.String(), "mkdir -m 700")
}
