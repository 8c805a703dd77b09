package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// config is what the flags and their environment variables say.
type config struct {
	addr                              string
	issuer, audience                  string   // "": where the server is reached
	keyFiles                          []string // or one directory
	secretEnv                         string
	store                             string
	accessTTL, refreshTTL, sessionTTL time.Duration
	refreshGrace                      time.Duration // 0: none
	usersFile                         string
	loginLimit                        int
	loginWindow                       time.Duration
	tlsCert, tlsKey                   string
	insecureHTTP                      bool
	logFormat                         string
}

// addressFactor is how many accounts one address may lock: its own limit is so
// many times the limit of an account.
const addressFactor = 4

// flags binds the flags to c, which gets the defaults.
func flags(c *config) *flag.FlagSet {
	*c = config{
		addr: "127.0.0.1:8080", store: "memory", logFormat: "text",
		accessTTL: 15 * time.Minute, refreshTTL: 7 * 24 * time.Hour, sessionTTL: 30 * 24 * time.Hour,
		refreshGrace: 10 * time.Second, loginLimit: 5, loginWindow: 15 * time.Minute,
	}
	const year = 366 * 24 * time.Hour
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run prints the one line itself
	fs.Var(text(&c.addr, checkAddr), "addr", "listen on `HOST:PORT`; one that is not loopback needs -tls-cert or -insecure-http")
	fs.Var(text(&c.issuer, checkIssuer), "issuer", "the iss claim, a `URL` (default: where the server is reached)")
	fs.Var(text(&c.audience, checkAudience), "audience", "the aud claim, a `NAME`, as a rule a URL (default: the issuer)")
	fs.Var(repeatable{list(&c.keyFiles)}, "key", "a `FILE or DIR` of keys. A PEM or JWK file may repeat: the first signs, all are accepted; the variable holds a list like PATH. A directory must be there, and servers may share it: the first key is made in it, and a SIGHUP makes the next one (default: a new ES256 key)")
	fs.Var(text(&c.secretEnv, nil), "secret-env", "sign with HS256, with the secret in the environment variable `NAME`")
	fs.Var(text(&c.store, nil), "store", "keep sessions and revocations in a `STORE`: memory, redis://…, postgres://… (shared with other servers) or sqlite:FILE; all but memory want -key and -issuer, too")
	fs.Var(duration(&c.accessTTL, time.Second, 24*time.Hour), "access-ttl", "how long an access token lives: a `DURATION`")
	fs.Var(duration(&c.refreshTTL, time.Second, year), "refresh-ttl", "a session ends when it is not refreshed for this `DURATION`")
	fs.Var(duration(&c.sessionTTL, time.Second, year), "session-ttl", "a session ends this `DURATION` after the login in any case")
	fs.Var(grace(&c.refreshGrace), "refresh-grace", "a redeemed refresh token is answered again for this `DURATION`, at most 1m; 0 or negative: never")
	fs.Var(text(&c.usersFile, nil), "users", "a JSON `FILE` of users, [{\"name\", \"password\": \"$argon2id$v=19$m=…\", \"scopes\": […], \"roles\": […]}] (default: two new users)")
	fs.Var(number(&c.loginLimit, 1, 100), "login-limit", fmt.Sprintf("attempts to log in per account and window, a `NUMBER`; an address has %d times as many", addressFactor))
	fs.Var(duration(&c.loginWindow, time.Second, 24*time.Hour), "login-window", "the window of -login-limit: a `DURATION`")
	fs.Var(text(&c.tlsCert, nil), "tls-cert", "serve HTTPS with the certificate in this PEM `FILE`")
	fs.Var(text(&c.tlsKey, nil), "tls-key", "the key of -tls-cert: a PEM `FILE`")
	fs.Var(toggle{boolean(&c.insecureHTTP)}, "insecure-http", "serve plain HTTP on an address that is not loopback, where tokens can be read on the way")
	fs.Var(text(&c.logFormat, checkLogFormat), "log", "write the log to standard error as `json or text`")
	return fs
}

// variable is the environment variable of a flag.
func variable(name string) string {
	return "JWTAUTH_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// parseFlags reads the flags, and the environment variables of those that are
// not given; an empty variable is none. An error says which, what was wrong and
// what is expected.
func parseFlags(args []string, getenv func(string) string) (*config, error) {
	c := &config{}
	fs := flags(c)
	if err := fs.Parse(args); err != nil {
		return nil, explain(fs, err)
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: flags alone are expected, see -h", fs.Arg(0))
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var first error
	fs.VisitAll(func(f *flag.Flag) {
		value := getenv(variable(f.Name))
		if given[f.Name] || value == "" || first != nil {
			return
		}
		values := []string{value}
		if _, ok := f.Value.(repeatable); ok {
			values = filepath.SplitList(value)
		}
		for _, value := range values {
			if err := f.Value.Set(value); err != nil && first == nil {
				first = fmt.Errorf("invalid value %q for %s: %w", value, variable(f.Name), err)
			}
		}
	})
	return c, first
}

// explain adds what is expected to the errors of package flag that do not say.
func explain(fs *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag needs an argument: -"); ok {
		what, _ := flag.UnquoteUsage(fs.Lookup(name))
		return fmt.Errorf("%w: %s is expected", err, what)
	}
	if strings.HasPrefix(err.Error(), "invalid ") {
		return err
	}
	return fmt.Errorf("%w: one of the flags that -h lists is expected", err)
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "Usage: server [flags]\n\nEach flag can be given as an environment variable, too: -access-ttl as\nJWTAUTH_ACCESS_TTL, and so on. A flag wins over its variable.\n\n")
	fs := flags(&config{})
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// value is the value of a flag: how it is set, and its default.
type value struct {
	set  func(string) error
	show string
}

func (v value) String() string     { return v.show }
func (v value) Set(s string) error { return v.set(s) }

// toggle is a flag that needs no value on the command line.
type toggle struct{ value }

func (toggle) IsBoolFlag() bool { return true }

// repeatable is a flag that may repeat; its variable holds a list like PATH.
type repeatable struct{ value }

func text(p *string, check func(string) error) value {
	return value{show: *p, set: func(s string) error {
		if s == "" {
			return errors.New("something that is not empty is expected")
		}
		if check != nil {
			if err := check(s); err != nil {
				return err
			}
		}
		*p = s
		return nil
	}}
}

func list(p *[]string) value {
	return value{set: func(s string) error {
		if s == "" {
			return errors.New("the name of a file or a directory is expected")
		}
		*p = append(*p, s)
		return nil
	}}
}

func duration(p *time.Duration, least, most time.Duration) value {
	return value{show: p.String(), set: func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return fmt.Errorf("a duration of %v to %v is expected, e.g. 15m", least, most)
		}
		*p = d
		return nil
	}}
}

func grace(p *time.Duration) value {
	return value{show: p.String(), set: func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d > time.Minute {
			return errors.New("a duration of at most 1m is expected, e.g. 10s, or 0 for none")
		}
		*p = max(d, 0)
		return nil
	}}
}

func number(p *int, least, most int) value {
	return value{show: strconv.Itoa(*p), set: func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("a number from %d to %d is expected", least, most)
		}
		*p = n
		return nil
	}}
}

func boolean(p *bool) value {
	return value{set: func(s string) error {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("true or false is expected")
		}
		*p = b
		return nil
	}}
}

func checkAddr(s string) error {
	_, port, err := net.SplitHostPort(s)
	n, portErr := strconv.Atoi(port)
	if err != nil || portErr != nil || n < 0 || n > 65535 {
		return errors.New("HOST:PORT is expected, e.g. 127.0.0.1:8080")
	}
	return nil
}

// checkIssuer: RFC 8414, section 2.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") || checkAudience(s) != nil {
		return errors.New("a URL without query and fragment is expected, e.g. https://api.example.com")
	}
	return nil
}

func checkAudience(s string) error {
	if len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }) {
		return errors.New("a name without blanks is expected, e.g. https://api.example.com")
	}
	return nil
}

func checkLogFormat(s string) error {
	if s != "json" && s != "text" {
		return errors.New("json or text is expected")
	}
	return nil
}
